//! Power loss: every system call of a writing process is recorded, and a disk that forgets what was not synced is
//! rebuilt from them for many moments. Each opens, holds everything that was acknowledged, and no half of anything.
//!
//! What such a disk may keep of a file that was written and not synced: nothing, everything, or any of the writes, whole or
//! cut at a sector. A name is kept only once its directory was synced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::durability::{COUNT, FROM, child, model, what_is_stored};
use super::{Chance, rounds};

/// What the child does; each step is a commit of three keys.
const STEPS: usize = 16;
/// Moments that are tried in a short run; a long one tries each several times.
const MOMENTS: usize = 45;
/// What a disk writes as a whole.
const SECTOR: usize = 512;

#[tokio::test]
async fn after_power_loss_at_any_moment_everything_acknowledged_is_there_and_nothing_half() {
    let directory = tempfile::tempdir().expect("a directory");
    let (trace, data) = (directory.path().join("trace"), directory.path().join("data"));
    let calls = "trace=openat,write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat";
    let trace_path = trace.to_str().expect("plain");
    let strace = ["strace", "-f", "-y", "-xx", "-s", "4000000", "-e", calls, "-o", trace_path];
    let mut command = child(&strace, "child_changes_secrets", &data);
    let output = command.env(FROM, "0").env(COUNT, STEPS.to_string()).output().expect("strace runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let events = events(&fs::read_to_string(&trace).expect("a trace"), &data);
    let syncs = events.iter().filter(|event| matches!(event, Event::Sync(_))).count();
    let said = events.iter().filter(|event| matches!(event, Event::Acknowledged(_))).count();
    assert!(syncs > STEPS && said == STEPS, "{syncs} syncs, {said} acknowledgements: this looks at nothing");

    let chance = &mut Chance::new();
    let moments = rounds(MOMENTS, 3_000);
    let (mut disk, mut acknowledged, mut begun, mut tried) = (Disk::default(), 0, 0, 0);
    for (index, event) in events.iter().enumerate() {
        match event {
            Event::Begun(step) => begun = step + 1,
            Event::Acknowledged(step) => acknowledged = step + 1,
            event => disk.carry_out(event),
        }
        // As many as are due by now.
        while tried * events.len() < (index + 1) * moments {
            tried += 1;
            let memory = [Memory::Nothing, Memory::Everything, Memory::Some][tried % 3];
            let place = directory.path().join("crashed");
            disk.after_power_loss(memory, chance, &data, &place);
            let now = what_is_stored(&place).await;
            let fits = now == model(acknowledged) || (begun > acknowledged && now == model(begun));
            let found: Vec<_> = now.keys().collect();
            assert!(
                fits,
                "after call {index} of {}, keeping {memory:?} ({chance:?}): {acknowledged} were acknowledged, found {found:?}",
                events.len()
            );
            fs::remove_dir_all(&place).expect("removed");
        }
    }
    assert_eq!(tried, moments);
    super::tried(&format!("{tried} losses of power at {} moments, between {syncs} syncs", events.len()));
}

/// What happened, in its order.
#[derive(Debug)]
enum Event {
    Made { path: PathBuf, emptied: bool },
    Written { path: PathBuf, at: Option<usize>, bytes: Vec<u8> },
    Length { path: PathBuf, length: usize },
    Sync(PathBuf),
    Renamed { from: PathBuf, to: PathBuf },
    Removed(PathBuf),
    Begun(usize),
    Acknowledged(usize),
}

/// What of a write that was not synced is there after the power was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    Nothing,
    Everything,
    Some,
}

#[derive(Default)]
struct Disk {
    files: Vec<File>,
    /// What a process sees.
    names: BTreeMap<PathBuf, usize>,
    /// What is on the disk.
    kept_names: BTreeMap<PathBuf, usize>,
}

#[derive(Default)]
struct File {
    /// On the disk.
    kept: Vec<u8>,
    /// Written since.
    pending: Vec<Change>,
    length: usize,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Disk {
    fn carry_out(&mut self, event: &Event) {
        match event {
            Event::Made { path, emptied } => {
                let file = self.file(path);
                if *emptied {
                    file.change(Change::Length(0));
                }
            }
            Event::Written { path, at, bytes } => {
                let file = self.file(path);
                file.change(Change::Write(at.unwrap_or(file.length), bytes.clone()));
            }
            Event::Length { path, length } => self.file(path).change(Change::Length(*length)),
            Event::Renamed { from, to } => {
                let file = self.names.remove(from).expect("it was made");
                self.names.insert(to.clone(), file);
            }
            Event::Removed(path) => drop(self.names.remove(path)),
            Event::Sync(path) => self.sync(path),
            Event::Begun(_) | Event::Acknowledged(_) => {}
        }
    }

    fn sync(&mut self, path: &Path) {
        if let Some(file) = self.names.get(path) {
            let File { kept, pending, .. } = &mut self.files[*file];
            pending.drain(..).for_each(|change| change.carry_out(kept));
            return;
        }
        // A directory: from now on what is in it is known by these names.
        let below = |name: &PathBuf| name.parent() == Some(path);
        self.kept_names.retain(|name, _| !below(name));
        self.kept_names.extend(self.names.iter().filter(|(name, _)| below(name)).map(|(name, file)| (name.clone(), *file)));
    }

    fn file(&mut self, path: &Path) -> &mut File {
        let next = self.files.len();
        let file = *self.names.entry(path.to_owned()).or_insert(next);
        if file == next {
            self.files.push(File::default());
        }
        &mut self.files[file]
    }

    /// Puts into `place` what lay below `data` when the power was lost.
    fn after_power_loss(&self, memory: Memory, chance: &mut Chance, data: &Path, place: &Path) {
        let names = if memory == Memory::Everything { &self.names } else { &self.kept_names };
        fs::create_dir_all(place).expect("made");
        for (name, file) in names {
            let target = place.join(name.strip_prefix(data).expect("it lies there"));
            fs::create_dir_all(target.parent().expect("it has one")).expect("made");
            let File { kept, pending, .. } = &self.files[*file];
            let mut bytes = kept.clone();
            for change in pending {
                match memory {
                    Memory::Everything => change.clone().carry_out(&mut bytes),
                    Memory::Some if chance.one_in(2) => change.clone().cut(chance).carry_out(&mut bytes),
                    Memory::Some | Memory::Nothing => {}
                }
            }
            fs::write(target, bytes).expect("written");
        }
    }
}

impl File {
    fn change(&mut self, change: Change) {
        self.length = match &change {
            Change::Write(at, bytes) => self.length.max(at + bytes.len()),
            Change::Length(length) => *length,
        };
        self.pending.push(change);
    }
}

impl Change {
    fn carry_out(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(length, 0),
            Self::Write(at, new) => {
                let end = at + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[at..end].copy_from_slice(&new);
            }
        }
    }

    /// Sometimes only its beginning, up to a sector's end, came to the disk.
    fn cut(self, chance: &mut Chance) -> Self {
        match self {
            Self::Write(at, mut bytes) if chance.one_in(3) => {
                let sectors = bytes.len() / SECTOR;
                bytes.truncate(chance.below(sectors + 1) * SECTOR);
                Self::Write(at, bytes)
            }
            whole => whole,
        }
    }
}

/// The calls that succeeded on files below `data`, and what the child said between them.
fn events(trace: &str, data: &Path) -> Vec<Event> {
    let mut events = Vec::new();
    let mut seen = BTreeSet::new();
    for call in super::durability::calls(trace) {
        let Some((_, outcome)) = call.text.rsplit_once(" = ") else { continue };
        if outcome.starts_with('-') {
            continue;
        }
        let texts = texts(&call.text);
        let path = |bytes: &[u8]| PathBuf::from(String::from_utf8_lossy(bytes).into_owned());
        let paths: Vec<PathBuf> = texts.angled.iter().map(|bytes| path(bytes)).collect();
        let quoted: Vec<PathBuf> = texts.quoted.iter().map(|bytes| path(bytes)).collect();
        let ours = |path: &Path| path.starts_with(data);
        match call.name.as_str() {
            "openat" if call.text.contains("O_CREAT") => {
                let made = quoted.into_iter().next().expect("it names a file");
                if ours(&made) {
                    let emptied = call.text.contains("O_TRUNC");
                    seen.insert(made.clone());
                    events.push(Event::Made { path: made, emptied });
                }
            }
            "write" if call.text.starts_with("write(1<") => {
                let said = String::from_utf8_lossy(&texts.quoted[0]).into_owned();
                for line in said.lines() {
                    if let Some(step) = line.strip_prefix("begun ") {
                        events.push(Event::Begun(step.parse().expect("a number")));
                    } else if let Some(step) = line.strip_prefix("acknowledged ") {
                        events.push(Event::Acknowledged(step.parse().expect("a number")));
                    }
                }
            }
            "write" | "pwrite64" if ours(&paths[0]) => {
                let behind = call.text.rsplit('"').next().expect("behind the bytes");
                let mut numbers = behind.split(|letter: char| !letter.is_ascii_digit()).filter_map(|text| text.parse().ok());
                let (_, at): (Option<usize>, Option<usize>) = (numbers.next(), numbers.next());
                let at = at.filter(|_| call.name == "pwrite64");
                let written: usize = outcome.trim().parse().expect("a number");
                let mut bytes = texts.quoted.into_iter().next().expect("bytes");
                assert!(!behind.starts_with("..."), "strace cut what was written");
                bytes.truncate(written);
                events.push(Event::Written { path: paths[0].clone(), at, bytes });
            }
            "fsync" | "fdatasync" if ours(&paths[0]) => events.push(Event::Sync(paths[0].clone())),
            "ftruncate" if ours(&paths[0]) => {
                let behind = call.text.rsplit('>').next().expect("behind the file");
                let length = behind.split(|letter: char| !letter.is_ascii_digit()).find_map(|text| text.parse().ok());
                events.push(Event::Length { path: paths[0].clone(), length: length.expect("a length") });
            }
            "rename" | "renameat" | "renameat2" if quoted.first().is_some_and(|from| ours(from)) => {
                events.push(Event::Renamed { from: quoted[0].clone(), to: quoted[1].clone() });
            }
            "unlink" | "unlinkat" if quoted.first().is_some_and(|gone| ours(gone)) => {
                events.push(Event::Removed(quoted[0].clone()));
            }
            _ => {}
        }
    }
    assert!(seen.iter().any(|path| path.ends_with("store/db")), "{seen:?}");
    events
}

/// What stands in a call in quotes, and as the file behind a descriptor; both in hexadecimal.
struct Texts {
    quoted: Vec<Vec<u8>>,
    angled: Vec<Vec<u8>>,
}

fn texts(call: &str) -> Texts {
    let decode = |text: &str| -> Vec<u8> {
        text.split("\\x").skip(1).filter_map(|digits| u8::from_str_radix(digits.get(..2)?, 16).ok()).collect()
    };
    let quoted = call.split('"').skip(1).step_by(2).map(decode).collect();
    let outside: String = call.split('"').step_by(2).collect();
    let angled = outside.split('<').skip(1).filter_map(|rest| rest.split_once('>')).filter(|(text, _)| text.starts_with("\\x"));
    Texts { quoted, angled: angled.map(|(text, _)| decode(text)).collect() }
}
