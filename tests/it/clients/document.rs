//! `docs/clients.md`, made from the matrix: `make clients-document` writes it, and a test compares it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use super::Row;
use super::rows::all;
use super::steps::Step;

/// Set, the document is written instead of compared.
const WRITE: &str = "SUBROSA_WRITE_CLIENTS";

const HEAD: &str = "\
# Clients

Made from the tests (`tests/it/clients`); `make clients-document` writes it anew. Every client here is run
unmodified and intercepted, and what counts is the bytes that an origin received: `make clients` installs and runs
them all, `make test` those marked with a star.

Each of them needs three things: the address of the proxy, the runner's token in it, and trust in the CA.
`subrosa run -- COMMAND` sets what each reads for its command, `eval \"$(subrosa env)\"` for a shell. Where that is
not enough the table says what is. `subrosa doctor` tries what is installed on a machine.

| client | beyond `subrosa run` it needs | a reference may stand in |
|---|---|---|
";

const FOOT: &str = "
- *address*: the target is an IP address; clients without it send those of this machine past every proxy.
- *bearer* and *basic*: `Authorization`. *upgrade*: path, query and fields of a WebSocket's handshake.
  *metadata*: gRPC's, in unary calls and streams either way; messages stay as they are.
- What a client shows of a refusal is its problem document (`domain_restricted`, with the sentence that helps), except
  where the notes say otherwise.

## Notes

";

const TAIL: &str = "
## Tokens

The token is the password of the proxy's address: `http://runner:TOKEN@127.0.0.1:8080`. Those that can send none:
";

#[test]
fn the_document_says_what_the_matrix_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients.md");
    let made = document();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &made).expect("written");
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(present == made, "docs/clients.md is not what the matrix says: run `make clients-document`");
}

#[test]
fn every_driver_is_of_a_row_and_every_row_expresses_something() {
    let used: BTreeSet<String> = all().iter().map(|(_, _, row)| row.driver.to_owned()).collect();
    let drivers = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients/drivers")).expect("there");
    for driver in drivers {
        let name = driver.expect("an entry").file_name().into_string().expect("text");
        // A page of Chromium's, and a package that is built.
        assert!(used.contains(&name) || ["chromium.html", "reqwest"].contains(&name.as_str()), "{name}");
    }
    assert!(all().iter().all(|(_, _, row)| !row.steps.is_empty() && !row.client.is_empty()));
}

fn document() -> String {
    let mut text = HEAD.to_owned();
    for (_, is_first, row) in all() {
        let star = if is_first { "\\*" } else { "" };
        let needs = if row.needs.is_empty() { "nothing" } else { row.needs };
        writeln!(text, "| {}{star} | {needs} | {} |", row.client, surfaces(&row)).expect("it is text");
    }
    text.push_str(FOOT);
    for (_, _, row) in all() {
        for quirk in row.quirks {
            writeln!(text, "- **{}.** {}", row.client, quirk.0).expect("it is text");
        }
    }
    text.push_str(TAIL);
    for (_, _, row) in all().into_iter().filter(|(_, _, row)| !row.sends_token) {
        writeln!(text, "- {}", row.client).expect("it is text");
    }
    text
}

/// The surfaces of a row, each once, in the order of the steps.
fn surfaces(row: &Row) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in row.steps.iter().map(|step: &Step| step.name()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}
