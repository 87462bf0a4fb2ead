//! Every form in which an upstream may write a value: as it is, with the escapes of JSON and HTML,
//! percent-encoded, and in base64 wherever it stands in what was encoded.
//!
//! The tables list what the writers in use do; a value without special characters has one form only,
//! and the three of base64.

use super::super::Plaintext;
use super::super::reference::escape_text;
use super::base64::Alignment;

/// A value under so many bytes is not looked for: it may stand in any answer by chance, and whoever
/// wants to know it needs no echo to try them all.
pub const LEAST: usize = 8;
/// Longer values are looked for in their most usual forms only, as each takes several times their length.
const LONG: usize = 4 * 1024;
/// A longer number is no number to any reader of JSON.
const MAX_NUMBER: usize = 64;

/// One form of a value.
pub(super) struct Form {
    pub(super) bytes: Plaintext,
    pub(super) kind: Kind,
}

/// What is put in the place of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The reference.
    Text,
    /// The reference; quoted, where it stands outside of a JSON string.
    Number,
    /// The reference with its braces percent-encoded.
    Url,
    /// The reference in base64, and what follows it moved to where it belongs then.
    Base64(Alignment),
}

/// How a writer of JSON escapes beyond what it must (RFC 8259 section 7).
struct Json {
    /// Characters that it writes as `\uXXXX`, and whether with capitals.
    also: (&'static [u8], bool),
    /// And whatever is not ASCII.
    ascii_only: bool,
    upper: bool,
    /// `\/`
    slash: bool,
}

const JSON: [Json; 11] = [
    // JavaScript, Rust, Ruby, jq.
    Json { also: (b"", false), ascii_only: false, upper: false, slash: false },
    // Python.
    Json { also: (b"", false), ascii_only: true, upper: false, slash: false },
    // PHP, and with JSON_UNESCAPED_UNICODE.
    Json { also: (b"", false), ascii_only: true, upper: false, slash: true },
    Json { also: (b"", false), ascii_only: false, upper: false, slash: true },
    // Go, Rails.
    Json { also: (b"<>&", false), ascii_only: false, upper: false, slash: false },
    // Gson.
    Json { also: (b"<>&='", false), ascii_only: false, upper: false, slash: false },
    // .NET.
    Json { also: (b"\"&'+<>`", true), ascii_only: true, upper: true, slash: false },
    // PHP with JSON_HEX_*, as Symfony has it; with JSON_UNESCAPED_UNICODE, and with JSON_UNESCAPED_SLASHES.
    Json { also: (b"\"&'<>", true), ascii_only: true, upper: false, slash: true },
    Json { also: (b"\"&'<>", true), ascii_only: false, upper: false, slash: true },
    Json { also: (b"\"&'<>", true), ascii_only: true, upper: false, slash: false },
    // What we write ourselves.
    Json { also: (b"", true), ascii_only: true, upper: true, slash: false },
];

/// How HTML and XML write a quote, an apostrophe, a plus, a slash, an equals sign and a backtick.
const HTML: [[&str; 6]; 11] = [
    ["&quot;", "&#39;", "+", "/", "=", "`"],
    ["&quot;", "&#x27;", "+", "/", "=", "`"],
    ["&quot;", "&apos;", "+", "/", "=", "`"],
    // PHP.
    ["&quot;", "&#039;", "+", "/", "=", "`"],
    ["&quot;", "'", "+", "/", "=", "`"],
    ["&#34;", "&#39;", "+", "/", "=", "`"],
    ["&#34;", "&#39;", "&#43;", "/", "=", "`"],
    ["\"", "'", "+", "/", "=", "`"],
    // Mustache, Handlebars, and what OWASP advises.
    ["&quot;", "&#39;", "+", "&#x2F;", "&#x3D;", "&#x60;"],
    ["&quot;", "&#x27;", "+", "/", "&#x3D;", "&#x60;"],
    ["&quot;", "&#x27;", "+", "&#x2F;", "=", "`"],
];

/// What percent-encoding leaves as it is beside letters and digits; whether a space is a plus; lower case.
const PERCENT: [(&[u8], bool, bool); 13] = [
    // RFC 3986.
    (b"-._~", false, false),
    (b"-._~", false, true),
    // Forms: the URL standard, Python and Go, and the first in lower case.
    (b"*-._", true, false),
    (b"-._~", true, false),
    (b"*-._", true, true),
    // PHP, and .NET in both ways.
    (b"-._", true, false),
    (b"-._!()*", true, false),
    (b"-._!()*", true, true),
    // encodeURIComponent.
    (b"-._~!'()*", false, false),
    // Paths as Python and Go write them.
    (b"-._~/", false, false),
    (b"-._~$&+=:@", false, false),
    // What may stand in a path or query anyway; encodeURI.
    (b"-._~!$&'()*+,;=:@/?", false, false),
    (b"-._~!$&'()*+,;=:@/?#", false, false),
];

/// The forms of a value, each once; none of one that is too short. `url_encoded`: an upstream may decode
/// it first.
pub(super) fn of(value: &[u8], url_encoded: bool) -> Vec<Form> {
    let mut forms = Forms(Vec::with_capacity(8));
    forms.of(value);
    if url_encoded && let Some(decoded) = decoded(value) {
        forms.of(&decoded);
    }
    forms.0
}

struct Forms(Vec<Form>);

impl Forms {
    fn of(&mut self, value: &[u8]) {
        if value.len() < LEAST {
            return;
        }
        let is_number = value.len() <= MAX_NUMBER && super::super::encode::is_json_number(value);
        self.add(Plaintext::new(value.to_vec()), if is_number { Kind::Number } else { Kind::Text });
        if !value.iter().all(|&byte| is_plain(byte)) {
            let usual = |all: usize, few: usize| if value.len() > LONG { few } else { all };
            if let Ok(text) = std::str::from_utf8(value) {
                JSON.iter().take(usual(JSON.len(), 2)).for_each(|style| self.add(json(text, style), Kind::Text));
            }
            HTML.iter().take(usual(HTML.len(), 1)).for_each(|style| self.add(html(value, style), Kind::Text));
            PERCENT.iter().take(usual(PERCENT.len(), 1)).for_each(|style| self.add(percent(value, style), Kind::Url));
            // In a head, what has the shape of a reference is escaped.
            self.add_some(escape_text(value).map(Plaintext::new), Kind::Text);
        }
        self.base64(value);
    }

    fn base64(&mut self, value: &[u8]) {
        for alignment in Alignment::of(value) {
            let core = alignment.core(value, false);
            let kind = Kind::Base64(alignment);
            if core.contains(&b'+') || core.contains(&b'/') {
                self.add(alignment.core(value, true), kind);
            }
            // As PHP and .NET write it in JSON.
            for (special, escape) in [(b'/', &b"\\/"[..]), (b'+', b"\\u002B")] {
                if core.contains(&special) && value.len() <= LONG {
                    let escaped = core.iter().flat_map(|byte| if *byte == special { escape } else { std::slice::from_ref(byte) });
                    self.add(Plaintext::new(escaped.copied().collect()), kind);
                }
            }
            self.add(core, kind);
        }
    }

    fn add(&mut self, bytes: Plaintext, kind: Kind) {
        if bytes.len() >= LEAST && !self.0.iter().any(|form| form.bytes == bytes) {
            self.0.push(Form { bytes, kind });
        }
    }

    fn add_some(&mut self, bytes: Option<Plaintext>, kind: Kind) {
        if let Some(bytes) = bytes {
            self.add(bytes, kind);
        }
    }
}

/// Whether a byte is written as it is in every form but base64.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn json(text: &str, style: &Json) -> Plaintext {
    let mut written = Plaintext::new(Vec::with_capacity(text.len() * 6));
    for char in text.chars() {
        match char {
            char if char.is_ascii() && style.also.0.contains(&(char as u8)) => unit(&mut written, char as u16, style.also.1),
            '"' | '\\' => written.extend_from_slice(&[b'\\', char as u8]),
            '/' if style.slash => written.extend_from_slice(b"\\/"),
            '\n' => written.extend_from_slice(b"\\n"),
            '\r' => written.extend_from_slice(b"\\r"),
            '\t' => written.extend_from_slice(b"\\t"),
            '\u{8}' => written.extend_from_slice(b"\\b"),
            '\u{c}' => written.extend_from_slice(b"\\f"),
            char if char < ' ' || (style.ascii_only && !char.is_ascii()) => {
                char.encode_utf16(&mut [0; 2]).iter().for_each(|part| unit(&mut written, *part, style.upper));
            }
            char => written.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    written
}

fn digit(value: u8, upper: bool) -> u8 {
    let digits: &[u8; 16] = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    digits[usize::from(value & 15)]
}

fn unit(written: &mut Plaintext, unit: u16, upper: bool) {
    let [high, low] = unit.to_be_bytes();
    let digits = [high >> 4, high, low >> 4, low].map(|value| digit(value, upper));
    written.extend_from_slice(b"\\u");
    written.extend_from_slice(&digits);
}

fn html(value: &[u8], [quote, apostrophe, plus, slash, equals, backtick]: &[&str; 6]) -> Plaintext {
    let mut written = Plaintext::new(Vec::with_capacity(value.len() * 6));
    for byte in value {
        let text: &[u8] = match byte {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'"' => quote.as_bytes(),
            b'\'' => apostrophe.as_bytes(),
            b'+' => plus.as_bytes(),
            b'/' => slash.as_bytes(),
            b'=' => equals.as_bytes(),
            b'`' => backtick.as_bytes(),
            byte => std::slice::from_ref(byte),
        };
        written.extend_from_slice(text);
    }
    written
}

fn percent(value: &[u8], (kept, plus, lower): &(&[u8], bool, bool)) -> Plaintext {
    let mut written = Plaintext::new(Vec::with_capacity(value.len() * 3));
    for &byte in value {
        match byte {
            b' ' if *plus => written.push(b'+'),
            byte if byte.is_ascii_alphanumeric() || kept.contains(&byte) => written.push(byte),
            byte => written.extend_from_slice(&[b'%', digit(byte >> 4, !lower), digit(byte, !lower)]),
        }
    }
    written
}

/// A value without its percent-encoding, if that changes it.
pub(super) fn decoded(value: &[u8]) -> Option<Plaintext> {
    let mut written = Plaintext::new(Vec::with_capacity(value.len()));
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        let hex = |digit: u8| (digit as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        rest = after;
        match (byte, after) {
            (b'%', [high, low, behind @ ..]) if let (Some(high), Some(low)) = (hex(*high), hex(*low)) => {
                written.push(high << 4 | low);
                rest = behind;
            }
            _ => written.push(byte),
        }
    }
    (written.as_slice() != value).then_some(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(value: &[u8], url_encoded: bool) -> Vec<String> {
        let text = |form: &Form| String::from_utf8_lossy(&form.bytes).into_owned();
        of(value, url_encoded).iter().filter(|form| !matches!(form.kind, Kind::Base64(_))).map(text).collect()
    }

    #[test]
    fn a_plain_value_has_one_form_and_those_of_base64() {
        let forms = of(b"abc-DEF_123.456", false);
        assert_eq!((texts(b"abc-DEF_123.456", false).len(), forms.len()), (1, 4));
        assert!(of(b"1234567", false).is_empty());
    }

    #[test]
    fn special_characters_are_written_as_each_writer_does() {
        let found = texts(b"a\"<&+ /'\xc3\xa9=~z", false);
        for wanted in [
            "a\\\"<&+ /'\u{e9}=~z",
            "a\\\"<&+ /'\\u00e9=~z",
            "a\\\"<&+ \\/'\\u00e9=~z",
            "a\\\"\\u003c\\u0026+ /'\u{e9}=~z",
            "a\\\"\\u003c\\u0026+ /\\u0027\u{e9}\\u003d~z",
            "a\\u0022\\u003C\\u0026\\u002B /\\u0027\\u00E9=~z",
            "a&quot;&lt;&amp;+ /&#39;\u{e9}=~z",
            "a&#34;&lt;&amp;&#43; /&#39;\u{e9}=~z",
            "a%22%3C%26%2B%20%2F%27%C3%A9%3D~z",
            "a%22%3c%26%2b%20%2f%27%c3%a9%3d~z",
            "a%22%3C%26%2B+%2F%27%C3%A9%3D%7Ez",
            "a%22%3C%26%2B%20%2F'%C3%A9%3D~z",
            "a%22%3C&+%20/'%C3%A9=~z",
        ] {
            assert!(found.iter().any(|form| form == wanted), "{wanted} in {found:#?}");
        }
    }

    #[test]
    fn writers_of_paths_pages_and_forms_have_forms_of_their_own() {
        for (value, wanted) in [
            ("wJalr/K7MD+bPx==", &["wJalr/K7MD%2BbPx%3D%3D", "wJalr%2FK7MD+bPx==", "wJalr&#x2F;K7MD+bPx&#x3D;&#x3D;"][..]),
            ("it's a key=`/", &["it&#039;s a key=`/", "it&#x27;s a key&#x3D;&#x60;/", "it&#x27;s a key=`&#x2F;"]),
            (
                "p&ss/w0rd<1\u{e9}",
                &["p\\u0026ss\\/w0rd\\u003C1\\u00e9", "p\\u0026ss\\/w0rd\\u003C1\u{e9}", "p\\u0026ss/w0rd\\u003C1\\u00e9"],
            ),
            ("a b*c~d!e#f", &["a+b%2Ac%7Ed%21e%23f", "a+b*c%7Ed!e%23f", "a%20b*c~d!e#f"]),
            ("a b*c~d!e/f", &["a+b*c%7ed!e%2ff"]),
        ] {
            let found = texts(value.as_bytes(), false);
            for wanted in wanted {
                assert!(found.iter().any(|form| form == wanted), "{wanted} in {found:#?}");
            }
        }
    }

    #[test]
    fn a_value_that_is_encoded_already_is_looked_for_decoded_too() {
        let found = texts(b"sig%2Fa%2B12345", true);
        assert!(
            found.iter().any(|form| form == "sig/a+12345") && found.iter().any(|form| form == "sig%252Fa%252B12345"),
            "{found:?}"
        );
    }
}
