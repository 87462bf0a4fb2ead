//! Log lines as JSON, an object each: what tracing-subscriber's own format writes, in one pass and without a map of
//! the fields, because a busy proxy writes one for each request.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;

/// What one thread keeps of a line's room between two lines.
const KEPT: usize = 16 * 1024;

/// A layer that writes each event as a line of JSON. Spans are not told; there are none.
pub struct JsonLines<W> {
    to: W,
}

impl<W> JsonLines<W> {
    /// Lines on their way to what `to` makes for each.
    pub fn new(to: W) -> Self {
        Self { to }
    }
}

impl<S: Subscriber, W: for<'w> MakeWriter<'w> + 'static> Layer<S> for JsonLines<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        // Taken, not lent: what a field shows of itself may log in turn.
        let mut room = ROOM.take();
        room.begin(SystemTime::now());
        room.line.extend_from_slice(br#"","level":""#);
        room.line.extend_from_slice(about.level().as_str().as_bytes());
        room.line.extend_from_slice(br#"","fields":{"#);
        event.record(&mut Fields { room: &mut room, is_first: true });
        room.line.extend_from_slice(br#"},"target":"#);
        text(&mut room.line, about.target());
        room.line.extend_from_slice(b"}\n");
        // A log that cannot be written has nobody to be told to.
        let _ = self.to.make_writer_for(about).write_all(&room.line);
        if room.line.capacity() <= KEPT && room.shown.capacity() <= KEPT {
            ROOM.set(room);
        }
    }
}

thread_local! {
    static ROOM: Cell<Room> = Cell::default();
}

/// Room for a line, and the second that was written last.
#[derive(Default)]
struct Room {
    line: Vec<u8>,
    /// What a field shows of itself, before it is escaped.
    shown: String,
    second: Option<u64>,
    /// The same as text, up to the seconds.
    date: String,
}

impl Room {
    /// An empty line with its time, the quote of which is open.
    fn begin(&mut self, now: SystemTime) {
        // A clock before 1970 is wrong in any case.
        let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            let at = OffsetDateTime::from(UNIX_EPOCH + Duration::from_secs(since.as_secs()));
            let (date, time) = (at.date(), at.time());
            self.date.clear();
            // Text takes whatever is written.
            let _ = write!(
                self.date,
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.",
                date.year(),
                u8::from(date.month()),
                date.day(),
                time.hour(),
                time.minute(),
                time.second()
            );
        }
        self.line.clear();
        self.line.extend_from_slice(br#"{"timestamp":""#);
        self.line.extend_from_slice(self.date.as_bytes());
        let _ = write!(self.line, "{:06}Z", since.subsec_micros());
    }
}

/// The fields of an event on their way into a line.
struct Fields<'a> {
    room: &'a mut Room,
    is_first: bool,
}

impl Fields<'_> {
    fn name(&mut self, field: &Field) {
        if !std::mem::take(&mut self.is_first) {
            self.room.line.push(b',');
        }
        let name = field.name();
        text(&mut self.room.line, name.strip_prefix("r#").unwrap_or(name));
        self.room.line.push(b':');
    }

    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field);
        let _ = write!(self.room.line, "{value}");
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        self.room.shown.clear();
        let _ = write!(self.room.shown, "{value:?}");
        text(&mut self.room.line, &self.room.shown);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        text(&mut self.room.line, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.name(field);
        // JSON has no number that is none: null then.
        let _ = serde_json::to_writer(&mut self.room.line, &value);
    }
}

/// A text in its quotes.
fn text(line: &mut Vec<u8>, text: &str) {
    // Neither a text nor a vector can fail.
    let _ = serde_json::to_writer(line, text);
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn read(&self) -> Vec<Value> {
            let text = String::from_utf8(self.0.lock().expect("no panic").clone()).expect("text");
            assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
            text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line}"))).collect()
        }
    }

    /// What `work` says, in our lines and in the library's.
    fn both(work: impl Fn()) -> (Vec<Value>, Vec<Value>) {
        let (ours, theirs) = (Lines::default(), Lines::default());
        let (to, other) = (ours.clone(), theirs.clone());
        let library = tracing_subscriber::fmt::layer().json().with_writer(move || other.clone());
        let subscriber = tracing_subscriber::registry().with(JsonLines::new(move || to.clone())).with(library);
        tracing::subscriber::with_default(subscriber, work);
        (ours.read(), theirs.read())
    }

    /// The time of a line, and the line without it.
    fn taken(mut line: Value) -> (OffsetDateTime, Value) {
        let time = line.as_object_mut().and_then(|line| line.remove("timestamp")).expect("it has one");
        let time = time.as_str().expect("text");
        assert_eq!(time.len(), "2026-11-24T20:41:27.123456Z".len(), "{time}");
        let parsed = OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339);
        (parsed.expect("RFC 3339"), line)
    }

    proptest! {
        #[test]
        fn a_line_is_what_the_library_writes(text in any::<String>(), number: i64, count: u64, float in proptest::num::f64::ANY, is_so: bool) {
            let (ours, theirs) = both(|| {
                tracing::warn!(target: "subrosa::audit", text, number, count, float, is_so, r#type = %text, shown = ?text,
                    none = None::<&str>, some = Some(text.as_str()), "a {text} and {number}");
                tracing::info!("{text}");
            });
            prop_assert_eq!(ours.len(), 2);
            for (ours, theirs) in ours.into_iter().zip(theirs) {
                let ((at, ours), (also, theirs)) = (taken(ours), taken(theirs));
                prop_assert_eq!(ours, theirs);
                prop_assert!((also - at).whole_seconds().abs() < 60);
            }
        }
    }

    #[test]
    fn the_time_of_a_line_is_that_of_the_clock() {
        let mut room = Room::default();
        for (since, text) in [
            (Duration::from_micros(1_795_553_287_000_042), "2026-11-24T20:48:07.000042Z"),
            (Duration::from_micros(1_795_553_287_999_999), "2026-11-24T20:48:07.999999Z"),
            (Duration::from_hours(264_384), "2000-02-29T00:00:00.000000Z"),
        ] {
            room.begin(UNIX_EPOCH + since);
            assert_eq!(std::str::from_utf8(&room.line), Ok(format!("{{\"timestamp\":\"{text}").as_str()));
        }
    }
}
