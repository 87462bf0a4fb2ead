//! What is printed: results on standard output, everything said about them on standard error.

use std::io::{ErrorKind, IsTerminal, Write};

use super::error::CliError;

/// Writes a result, with a line end, to standard output.
pub(super) fn line(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush()) {
        // Whoever reads has had enough: `subrosa secret list | head -1`.
        Err(fault) if fault.kind() == ErrorKind::BrokenPipe => Err(CliError::Said),
        outcome => outcome.map_err(|fault| CliError::failed(format!("standard output cannot be written: {fault}"))),
    }
}

/// Says something beside the result, on standard error. Nobody may be listening.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Asks a question that only `y` or `yes` answers in the affirmative. `None`: nobody can be asked.
pub(super) fn confirm(question: &str) -> Option<bool> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    Some(read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Rows in columns as wide as their widest cell, two blanks apart.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&header).chain(rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let lines = all.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Text from elsewhere without what could steer a terminal: control characters become `?`.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["crm.apiKey".to_owned(), "any".to_owned()], vec!["é".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "DOMAINS"], &rows), "NAME        DOMAINS\ncrm.apiKey  any\né");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a?[2Jb?c");
    }
}
