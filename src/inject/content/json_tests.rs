//! A table in the spirit of the JSON test suites: escapes, surrogates, depth, names twice, marks and numbers. Within a string a
//! value is a string's text whatever stands around it, byte for byte; outside of one it is refused.

use super::tests::{fields, whole};
use crate::inject::Code;
use crate::inject::tests::Book;

/// A value with everything that JSON escapes, and two characters beyond the first plane and beside it.
const VALUE: &str = "a\"b\\c/d\u{8}\u{c}\n\r\t\u{0}\u{1f}\u{7f}\u{2028}\u{1d11e}\u{fffd}";
const HERE: &str = "{secrets.v}";

/// Texts in which the reference stands within a string.
const WITHIN: &[&str] = &[
    r#"["{secrets.v}"]"#,
    r#""{secrets.v}""#,
    r#"{"{secrets.v}": 1}"#,
    r#"{"a": 1, "a": "{secrets.v}", "a": 2}"#,
    r#"{"a": "\"{secrets.v}\""}"#,
    r#"["\\{secrets.v}"]"#,
    r#"["\\\"{secrets.v}"]"#,
    r#"["\\", "{secrets.v}"]"#,
    r#"["\\\\", "\"", "{secrets.v}\\"]"#,
    r#"["\u0022{secrets.v}\u005c"]"#,
    r#"["\/\b\f\n\r\t{secrets.v}"]"#,
    r#"["\uD801\udc37{secrets.v}\uD834\uDD1E"]"#,
    r#"["\uDADA{secrets.v}"]"#,
    r#"["\uDFAA{secrets.v}\uD800"]"#,
    r#"["\ud800\n{secrets.v}"]"#,
    r#"["\u00{secrets.v}"]"#,
    r#"["\x{secrets.v}"]"#,
    r#"["new\u00A0line{secrets.v}"]"#,
    "[\"\u{feff}{secrets.v}\u{10ffff}\u{ffff}\"]",
    "[\"\u{7f}{secrets.v}\u{e000}\"]",
    "\u{feff}[\"{secrets.v}\"]",
    "[\"tab\t{secrets.v}\"]",
    "[\"line\n{secrets.v}\"]",
    " \t\r\n[ \"{secrets.v}\" ] \n",
    r#"[1e5, -0, 0.1E+9, 123456789012345678901234567890, "{secrets.v}"]"#,
    r#"[-, 1., .5, 0x1, NaN, "{secrets.v}"]"#,
    r#"["a" "{secrets.v}""#,
    r#"["{secrets.v}"#,
    r#"{"a":{"b":[[{"c":["{secrets.v}"]}]]}}"#,
    r#"["{secrets", ".v}", "{secrets.v}"]"#,
    r#"["{{secrets.v}}", "{secrets.v}"]"#,
    r#"["{secrets.v}"]]]}"#,
    r#"["a",,,"{secrets.v}"]"#,
    r#"{"a":"{secrets.v}",}"#,
];

/// Texts in which it stands outside of every string.
const OUTSIDE: &[&str] = &[
    "{secrets.v}",
    "[{secrets.v}]",
    r#"{"a": {secrets.v}}"#,
    r"{{secrets.v}: 1}",
    r#"["\\"{secrets.v}]"#,
    r#"["\\\\"{secrets.v}]"#,
    r#"["a"{secrets.v}"b"]"#,
    r"['{secrets.v}']",
    "\u{feff}[{secrets.v}]",
    r"[1{secrets.v}]",
    r#"[{secrets.v}1, "a"]"#,
    r#"["\u0022", {secrets.v}]"#,
];

#[test]
fn within_a_string_a_value_is_text_whatever_stands_around_it() {
    let book = Book::default().with("v", VALUE);
    let deep = format!("{}[\"{HERE}\"]{}", "[{\"a\":".repeat(5_000), "}]".repeat(5_000));
    for text in WITHIN.iter().copied().chain([deep.as_str()]) {
        let (done, _) =
            whole(&book, &fields("application/json", ""), text.as_bytes()).unwrap_or_else(|it| panic!("{it:?}: {text}"));
        let done = String::from_utf8(done).expect("it was text, and is it still");
        let at = text.rfind(HERE).expect("it stands there");
        let (before, behind) = (text[..at].replace("{{secrets.v}}", HERE), &text[at + HERE.len()..]);
        let written = done.strip_prefix(&before).and_then(|rest| rest.strip_suffix(behind)).unwrap_or_else(|| panic!("{done}"));
        let read: String = serde_json::from_str(&format!("\"{written}\"")).unwrap_or_else(|fault| panic!("{fault}: {written}"));
        assert_eq!(read, VALUE, "{text}");
    }
}

#[test]
fn outside_of_a_string_a_value_that_is_no_literal_is_refused() {
    let book = Book::default().with("v", VALUE);
    for text in OUTSIDE {
        let refusal = whole(&book, &fields("application/json", ""), text.as_bytes()).expect_err(text);
        assert_eq!(refusal.code, Code::SecretNotEncodable, "{text}");
    }
}

#[test]
fn numbers_are_what_json_calls_numbers() {
    for (value, is_literal) in [
        ("0", true),
        ("-0", true),
        ("12", true),
        ("-1.5e+10", true),
        ("1E5", true),
        ("0.0", true),
        ("true", true),
        ("null", true),
        ("01", false),
        ("+1", false),
        ("1.", false),
        (".5", false),
        ("-", false),
        ("1e", false),
        ("1e+", false),
        ("0x1", false),
        ("1_000", false),
        ("NaN", false),
        ("Infinity", false),
        ("TRUE", false),
        ("1 ", false),
        (" 1", false),
        ("1,2", false),
        ("\u{ff11}", false),
        ("\"a\"", false),
        ("[]", false),
    ] {
        let book = Book::default().with("v", value);
        let done = whole(&book, &fields("application/json", ""), b"[ {secrets.v} ]");
        assert_eq!(done.is_ok(), is_literal, "{value:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(value).is_ok() && !value.contains(['[', '"', ' ']),
            is_literal,
            "{value:?}"
        );
    }
}
