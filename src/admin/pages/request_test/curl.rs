//! A curl command, read as curl reads it, as far as it says what is sent. What would be read from files
//! here is refused; what only says how curl behaves is passed over.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::parts::Parts;

/// Why a text is no curl command that can be tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CurlError {
    /// Quotes do not close.
    #[error("a quote is not closed, or the command ends with a backslash")]
    Quotes,
    /// `$'…'`.
    #[error("it holds $'…', which only some shells read; write plain quotes instead")]
    AnsiQuotes,
    /// An option without its value.
    #[error("`{0}` needs a value")]
    Value(String),
    /// An option that is not known here.
    #[error("the option `{0}` is not known here; leave it out, or write the parts below")]
    Option(String),
    /// `@file`.
    #[error("`{0}` names a file, and files are not read here; write its content instead")]
    File(String),
    /// No URL.
    #[error("it holds no URL")]
    NoUrl,
    /// More than one URL.
    #[error("it holds more than one URL; test them one by one")]
    Urls,
    /// A field without a colon.
    #[error("`{0}` is no header; write `Name: value`")]
    Header(String),
}

/// Whether a text looks like a curl command.
pub(super) fn is_command(text: &str) -> bool {
    let text = text.trim_start().trim_start_matches("$ ");
    text.split_ascii_whitespace().next().is_some_and(|word| word == "curl" || word == "curl.exe")
}

/// Reads a command.
pub(super) fn read(text: &str) -> Result<Parts, CurlError> {
    if text.contains(" $'") {
        return Err(CurlError::AnsiQuotes);
    }
    let text = text.trim_start().trim_start_matches("$ ").replace("\r\n", "\n");
    // A command over several lines. (Within single quotes a shell would keep it; commands are not written so.)
    let text = text.replace("\\\n", " ");
    let words = shlex::split(&text).ok_or(CurlError::Quotes)?;
    let mut command = Command::default();
    let mut words = words.into_iter().skip(1);
    let mut options = true;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--" if options => options = false,
            _ if options && word.starts_with("--") => command.long(&word, &mut words)?,
            _ if options && word.len() > 1 && word.starts_with('-') => command.short(&word, &mut words)?,
            _ => command.url(word)?,
        }
    }
    command.finish()
}

/// Options that say what is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Method,
    Header,
    Data,
    DataRaw,
    DataEncoded,
    Json,
    Form,
    FormText,
    User,
    Agent,
    Referer,
    Cookie,
    Bearer,
    Url,
    UrlQuery,
    Get,
    Head,
    Globoff,
    /// Nothing is sent otherwise; it takes no value.
    Passed,
    /// Nothing is sent otherwise; its value goes with it.
    PassedWithValue,
}

const OPTIONS: &[(&str, Option<char>, Meaning)] = &[
    ("request", Some('X'), Meaning::Method),
    ("header", Some('H'), Meaning::Header),
    ("data", Some('d'), Meaning::Data),
    ("data-ascii", None, Meaning::Data),
    ("data-binary", None, Meaning::Data),
    ("data-raw", None, Meaning::DataRaw),
    ("data-urlencode", None, Meaning::DataEncoded),
    ("json", None, Meaning::Json),
    ("form", Some('F'), Meaning::Form),
    ("form-string", None, Meaning::FormText),
    ("user", Some('u'), Meaning::User),
    ("user-agent", Some('A'), Meaning::Agent),
    ("referer", Some('e'), Meaning::Referer),
    ("cookie", Some('b'), Meaning::Cookie),
    ("oauth2-bearer", None, Meaning::Bearer),
    ("url", None, Meaning::Url),
    ("url-query", None, Meaning::UrlQuery),
    ("get", Some('G'), Meaning::Get),
    ("head", Some('I'), Meaning::Head),
    ("globoff", Some('g'), Meaning::Globoff),
    ("silent", Some('s'), Meaning::Passed),
    ("show-error", Some('S'), Meaning::Passed),
    ("verbose", Some('v'), Meaning::Passed),
    ("include", Some('i'), Meaning::Passed),
    ("show-headers", None, Meaning::Passed),
    ("location", Some('L'), Meaning::Passed),
    ("insecure", Some('k'), Meaning::Passed),
    ("fail", Some('f'), Meaning::Passed),
    ("fail-with-body", None, Meaning::Passed),
    ("compressed", None, Meaning::Passed),
    ("no-buffer", Some('N'), Meaning::Passed),
    ("progress-bar", Some('#'), Meaning::Passed),
    ("remote-name", Some('O'), Meaning::Passed),
    ("http1.1", None, Meaning::Passed),
    ("http2", None, Meaning::Passed),
    ("basic", None, Meaning::Passed),
    ("ipv4", Some('4'), Meaning::Passed),
    ("ipv6", Some('6'), Meaning::Passed),
    ("path-as-is", None, Meaning::Passed),
    ("output", Some('o'), Meaning::PassedWithValue),
    ("max-time", Some('m'), Meaning::PassedWithValue),
    ("connect-timeout", None, Meaning::PassedWithValue),
    ("retry", None, Meaning::PassedWithValue),
    ("write-out", Some('w'), Meaning::PassedWithValue),
    ("proxy", Some('x'), Meaning::PassedWithValue),
    ("proxy-header", None, Meaning::PassedWithValue),
    ("proxy-user", Some('U'), Meaning::PassedWithValue),
    ("cacert", None, Meaning::PassedWithValue),
    ("dump-header", Some('D'), Meaning::PassedWithValue),
    ("cookie-jar", Some('c'), Meaning::PassedWithValue),
];

impl Meaning {
    fn takes_value(self) -> bool {
        !matches!(self, Self::Get | Self::Head | Self::Globoff | Self::Passed)
    }
}

#[derive(Default)]
struct Command {
    method: Option<String>,
    url: Option<String>,
    query: Vec<String>,
    headers: Vec<(String, String)>,
    data: Vec<String>,
    form: Vec<(String, String)>,
    is_json: bool,
    /// The options without a value that say what is sent.
    flags: Vec<Meaning>,
}

impl Command {
    fn long(&mut self, word: &str, words: &mut impl Iterator<Item = String>) -> Result<(), CurlError> {
        let name = &word[2..];
        let unknown = || CurlError::Option(word.to_owned());
        let (.., meaning) = OPTIONS.iter().find(|(known, ..)| *known == name).ok_or_else(unknown)?;
        let value =
            if meaning.takes_value() { words.next().ok_or_else(|| CurlError::Value(word.to_owned()))? } else { String::new() };
        self.option(*meaning, value)
    }

    /// Several options in one word, the last perhaps with its value: `-sSXPOST`.
    fn short(&mut self, word: &str, words: &mut impl Iterator<Item = String>) -> Result<(), CurlError> {
        for (at, letter) in word[1..].char_indices() {
            let option = format!("-{letter}");
            let found = OPTIONS.iter().find(|(_, known, _)| *known == Some(letter));
            let (.., meaning) = found.ok_or_else(|| CurlError::Option(option.clone()))?;
            if meaning.takes_value() {
                let rest = &word[1 + at + letter.len_utf8()..];
                let value = if rest.is_empty() { words.next() } else { Some(rest.to_owned()) };
                return self.option(*meaning, value.ok_or(CurlError::Value(option))?);
            }
            self.option(*meaning, String::new())?;
        }
        Ok(())
    }

    fn option(&mut self, meaning: Meaning, value: String) -> Result<(), CurlError> {
        match meaning {
            Meaning::Method => self.method = Some(value),
            Meaning::Header => self.header(&value)?,
            Meaning::Data => self.data.push(no_file(value)?),
            Meaning::DataRaw => self.data.push(value),
            Meaning::DataEncoded => self.data.push(encoded(&value)?),
            Meaning::Json => {
                self.is_json = true;
                self.data.push(no_file(value)?);
            }
            Meaning::Form => self.part(&value)?,
            Meaning::FormText => self.form.push(pair(&value, '=')),
            Meaning::User => self.set("authorization", format!("Basic {}", STANDARD.encode(value))),
            Meaning::Bearer => self.set("authorization", format!("Bearer {value}")),
            Meaning::Agent => self.set("user-agent", value),
            Meaning::Referer => self.set("referer", value),
            Meaning::Cookie if !value.contains('=') => return Err(CurlError::File(value)),
            Meaning::Cookie => self.set("cookie", value),
            Meaning::Url => self.url(value)?,
            Meaning::UrlQuery => self.query.push(encoded(&value)?),
            Meaning::Get | Meaning::Head | Meaning::Globoff => self.flags.push(meaning),
            Meaning::Passed | Meaning::PassedWithValue => {}
        }
        Ok(())
    }

    fn url(&mut self, url: String) -> Result<(), CurlError> {
        if self.url.replace(url).is_some() { Err(CurlError::Urls) } else { Ok(()) }
    }

    fn header(&mut self, text: &str) -> Result<(), CurlError> {
        if text.starts_with('@') {
            return Err(CurlError::File(text.to_owned()));
        }
        // `Name;` sends a field without content; `Name:` removes one of curl's own.
        if let Some(name) = text.strip_suffix(';').filter(|name| !name.contains(':')) {
            self.headers.push((name.to_owned(), String::new()));
            return Ok(());
        }
        let (name, value) = text.split_once(':').ok_or_else(|| CurlError::Header(text.to_owned()))?;
        if !value.trim().is_empty() {
            self.headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        Ok(())
    }

    fn part(&mut self, text: &str) -> Result<(), CurlError> {
        let (name, value) = pair(text, '=');
        if value.starts_with(['@', '<']) {
            return Err(CurlError::File(text.to_owned()));
        }
        self.form.push((name, value));
        Ok(())
    }

    /// What an option of curl's own sends, unless a field says otherwise.
    fn set(&mut self, name: &str, value: String) {
        self.headers.push((name.to_owned(), value));
    }

    fn names(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    fn usual(&mut self, name: &str, value: &str) {
        if !self.names(name) {
            self.set(name, value.to_owned());
        }
    }

    fn finish(mut self) -> Result<Parts, CurlError> {
        let url = self.url.take().ok_or(CurlError::NoUrl)?;
        // As curl does where no scheme is written.
        let mut url = if url.contains("://") { url } else { format!("http://{url}") };
        let globbed = !self.flags.contains(&Meaning::Globoff) && url.contains("{secrets.");
        let mut body = String::new();
        if self.flags.contains(&Meaning::Get) {
            self.query.append(&mut self.data);
        } else if !self.data.is_empty() {
            body = if self.is_json { self.data.concat() } else { self.data.join("&") };
            let media_type = if self.is_json { "application/json" } else { "application/x-www-form-urlencoded" };
            self.usual("content-type", media_type);
            if self.is_json {
                self.usual("accept", "application/json");
            }
        } else if !self.form.is_empty() {
            body = self.multipart();
        }
        for part in &self.query {
            url = with_query(&url, part);
        }
        let usual = match body.as_str() {
            _ if self.flags.contains(&Meaning::Head) => "HEAD",
            "" => "GET",
            _ => "POST",
        };
        let method = self.method.unwrap_or_else(|| usual.to_owned());
        Ok(Parts { method, url, headers: self.headers, body, globbed })
    }

    fn multipart(&mut self) -> String {
        const BOUNDARY: &str = "------------------------subrosa-request-test";
        self.usual("content-type", &format!("multipart/form-data; boundary={BOUNDARY}"));
        let part = |(name, value): &(String, String)| {
            let name = name.replace('\\', "\\\\").replace('"', "\\\"");
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        format!("{}--{BOUNDARY}--\r\n", self.form.iter().map(part).collect::<String>())
    }
}

fn with_query(url: &str, part: &str) -> String {
    let (url, fragment) = url.split_once('#').map_or((url, String::new()), |(url, rest)| (url, format!("#{rest}")));
    format!("{url}{}{part}{fragment}", if url.contains('?') { '&' } else { '?' })
}

fn no_file(value: String) -> Result<String, CurlError> {
    if value.starts_with('@') { Err(CurlError::File(value)) } else { Ok(value) }
}

fn pair(text: &str, separator: char) -> (String, String) {
    let (name, value) = text.split_once(separator).unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// `content`, `=content`, `name=content`: what stands behind the first `=` is encoded.
fn encoded(value: &str) -> Result<String, CurlError> {
    if value.split('=').next().is_some_and(|name| name.contains('@')) {
        return Err(CurlError::File(value.to_owned()));
    }
    let encode = |text: &str| -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
    };
    Ok(match value.split_once('=') {
        Some(("", content)) => encode(content),
        Some((name, content)) => format!("{name}={}", encode(content)),
        None => encode(value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Parts {
        read(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    fn header<'a>(parts: &'a Parts, name: &str) -> &'a str {
        parts.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    #[test]
    fn common_commands_say_what_is_sent() {
        for (text, method, url, body) in [
            ("curl https://a.test/", "GET", "https://a.test/", ""),
            ("curl a.test", "GET", "http://a.test", ""),
            ("$ curl -sSL -XDELETE 'https://a.test/x'", "DELETE", "https://a.test/x", ""),
            ("curl -d a=1 --data 'b={secrets.b}' https://a.test", "POST", "https://a.test", "a=1&b={secrets.b}"),
            ("curl -G -d a=1 'https://a.test/?z=0#f'", "GET", "https://a.test/?z=0&a=1#f", ""),
            ("curl -I --url https://a.test", "HEAD", "https://a.test", ""),
            ("curl --data-urlencode 'k={secrets.k} x' https://a.test", "POST", "https://a.test", "k=%7Bsecrets.k%7D%20x"),
            ("curl \\\n  -X PUT \\\n  --data-raw '@not-a-file' \\\r\n  https://a.test", "PUT", "https://a.test", "@not-a-file"),
            ("curl -g 'https://a.test/{secrets.p}' -o /dev/null -m5", "GET", "https://a.test/{secrets.p}", ""),
        ] {
            let parts = parts(text);
            assert_eq!((parts.method.as_str(), parts.url.as_str(), parts.body.as_str()), (method, url, body), "{text}");
        }
    }

    #[test]
    fn fields_are_those_that_curl_would_send() {
        let basic = parts("curl -u 'me:{secrets.p}' https://a.test");
        assert_eq!(header(&basic, "Authorization"), format!("Basic {}", STANDARD.encode("me:{secrets.p}")));
        let json = parts("curl --json '{\"k\":\"{secrets.k}\"}' -H 'Accept: text/plain' https://a.test");
        assert_eq!((header(&json, "content-type"), header(&json, "accept")), ("application/json", "text/plain"));
        assert_eq!(header(&parts("curl -d x https://a.test"), "Content-Type"), "application/x-www-form-urlencoded");
        assert_eq!(header(&parts("curl -H 'X-Key:{secrets.k}' https://a.test"), "x-key"), "{secrets.k}");
        let form = parts("curl -F 'key={secrets.k}' https://a.test");
        assert!(header(&form, "content-type").starts_with("multipart/form-data; boundary=") && form.body.contains("{secrets.k}"));
    }

    #[test]
    fn braces_that_curl_would_take_for_a_pattern_are_noticed() {
        assert!(parts("curl 'https://a.test/{secrets.p}'").globbed);
        assert!(!parts("curl -g 'https://a.test/{secrets.p}'").globbed);
        assert!(!parts("curl -H 'x: {secrets.p}' https://a.test/").globbed);
    }

    #[test]
    fn what_cannot_be_tried_is_named() {
        for (text, fault) in [
            ("curl 'https://a.test", CurlError::Quotes),
            ("curl -H $'a: b' https://a.test", CurlError::AnsiQuotes),
            ("curl", CurlError::NoUrl),
            ("curl https://a.test https://b.test", CurlError::Urls),
            ("curl --data @key.json https://a.test", CurlError::File("@key.json".into())),
            ("curl -F f=@x https://a.test", CurlError::File("f=@x".into())),
            ("curl -b jar https://a.test", CurlError::File("jar".into())),
            ("curl --frobnicate https://a.test", CurlError::Option("--frobnicate".into())),
            ("curl -sZ https://a.test", CurlError::Option("-Z".into())),
            ("curl https://a.test -H", CurlError::Value("-H".into())),
            ("curl -H nonsense https://a.test", CurlError::Header("nonsense".into())),
        ] {
            assert_eq!(read(text).err(), Some(fault), "{text}");
        }
    }

    #[test]
    fn only_a_command_is_one() {
        assert!(is_command(" curl -v x") && is_command("$ curl x") && is_command("curl.exe x"));
        assert!(!is_command("https://a.test/curl") && !is_command("curly x") && !is_command(""));
    }
}
