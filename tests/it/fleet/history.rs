//! What was asked of a fleet, when, and what came of it; and whether that can have been so.
//!
//! A secret is a register: each change that was acknowledged has a revision of its own, in the order of time; what was
//! acknowledged is there at the end unless a later change took its place; and what a runner gets is a value that was there
//! when it asked, or a moment before. Of changes whose answer was lost nothing is known but their value.

use std::collections::BTreeMap;
use std::time::Duration;

/// One thing that was done.
#[derive(Clone, Debug)]
pub struct Deed {
    pub secret: usize,
    pub what: What,
    pub began: Duration,
    pub ended: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was acknowledged.
    Wrote { revision: u64, value: String },
    /// It may have been made.
    MayHaveWritten { value: String },
    /// A runner got this.
    Read { value: String, node: usize },
}

/// What there is at the end.
pub struct Last {
    pub revision: u64,
    pub value: String,
}

/// Why the history cannot have been; `Ok` if it can. `bound`: how old what a runner gets may be.
pub fn check(history: &[Deed], last: &[Last], bound: Duration) -> Result<(), String> {
    for (secret, last) in last.iter().enumerate() {
        let of: Vec<&Deed> = history.iter().filter(|deed| deed.secret == secret).collect();
        let mut writes: BTreeMap<u64, &Deed> = BTreeMap::new();
        for deed in &of {
            if let What::Wrote { revision, .. } = &deed.what
                && let Some(other) = writes.insert(*revision, deed)
            {
                return Err(format!("two writes were told the revision {revision}: {deed:?} and {other:?}"));
            }
        }
        let mut latest: Option<&Deed> = None;
        for deed in writes.values().rev() {
            // Who has a lower revision may not have begun after one with a higher one had ended.
            if let Some(later) = latest
                && later.ended < deed.began
            {
                return Err(format!("{deed:?} came after {later:?} and has a lower revision"));
            }
            latest = Some(latest.map_or(*deed, |known| if deed.ended < known.ended { *deed } else { known }));
        }
        at_the_end(&of, &writes, last)?;
        for deed in &of {
            read(deed, &of, &writes, bound)?;
        }
    }
    Ok(())
}

fn at_the_end(of: &[&Deed], writes: &BTreeMap<u64, &Deed>, last: &Last) -> Result<(), String> {
    let newest = writes.last_key_value();
    if newest.is_some_and(|(revision, _)| *revision > last.revision) {
        return Err(format!("the last write was lost: {newest:?}, and revision {} is there", last.revision));
    }
    match writes.get(&last.revision) {
        Some(deed) if matches!(&deed.what, What::Wrote { value, .. } if *value == last.value) => Ok(()),
        None if of.iter().any(|deed| deed.what == What::MayHaveWritten { value: last.value.clone() }) => Ok(()),
        found => Err(format!("`{}` is there at revision {}, and {found:?} was written", last.value, last.revision)),
    }
}

fn read(deed: &Deed, of: &[&Deed], writes: &BTreeMap<u64, &Deed>, bound: Duration) -> Result<(), String> {
    let What::Read { value, .. } = &deed.what else { return Ok(()) };
    let wrote = |write: &Deed| match &write.what {
        What::Wrote { value: written, .. } | What::MayHaveWritten { value: written } => written == value,
        What::Read { .. } => false,
    };
    let Some(write) = of.iter().find(|write| wrote(write)) else {
        return Err(format!("{deed:?} got what nobody wrote"));
    };
    if write.began > deed.ended {
        return Err(format!("{deed:?} got what was written later: {write:?}"));
    }
    let What::Wrote { revision, .. } = write.what else { return Ok(()) };
    let newer = writes.range(revision + 1..).map(|(_, newer)| newer).find(|newer| newer.ended + bound < deed.began);
    newer.map_or(Ok(()), |newer| Err(format!("{deed:?} got what had long been replaced by {newer:?}")))
}

#[test]
fn a_history_that_cannot_have_been_is_found() {
    let at = Duration::from_secs;
    let wrote = |revision, value: &str, began, ended| Deed {
        secret: 0,
        what: What::Wrote { revision, value: value.to_owned() },
        began: at(began),
        ended: at(ended),
    };
    let got = |value: &str, began, ended| Deed {
        secret: 0,
        what: What::Read { value: value.to_owned(), node: 1 },
        began: at(began),
        ended: at(ended),
    };
    let perhaps = |value: &str, began, ended| Deed {
        secret: 0,
        what: What::MayHaveWritten { value: value.to_owned() },
        began: at(began),
        ended: at(ended),
    };
    let last = |revision, value: &str| [Last { revision, value: value.to_owned() }];
    let sound =
        vec![wrote(1, "a", 0, 1), wrote(2, "b", 2, 4), got("a", 3, 4), got("b", 5, 6), wrote(3, "c", 3, 6), got("c", 4, 5)];
    let bound = at(1);
    assert_eq!(check(&sound, &last(3, "c"), bound), Ok(()));
    let with = |deed: Deed| [&sound[..], &[deed]].concat();
    for (history, end, fault) in [
        (sound.clone(), last(2, "b"), "the last write was lost"),
        (sound.clone(), last(3, "b"), "is there at revision 3"),
        (sound.clone(), last(4, "d"), "is there at revision 4"),
        (with(wrote(2, "x", 7, 8)), last(3, "c"), "two writes were told"),
        (with(wrote(4, "x", 0, 1)), last(4, "x"), "has a lower revision"),
        (with(got("a", 6, 7)), last(3, "c"), "had long been replaced"),
        (with(got("z", 6, 7)), last(3, "c"), "what nobody wrote"),
        (with(got("c", 1, 2)), last(3, "c"), "was written later"),
    ] {
        let found = check(&history, &end, bound).expect_err(fault);
        assert!(found.contains(fault), "{fault}: {found}");
    }
    assert_eq!(check(&with(perhaps("d", 7, 9)), &last(4, "d"), bound), Ok(()));
    assert_eq!(check(&with(perhaps("d", 7, 9)), &last(3, "c"), bound), Ok(()));
}
