//! Any text for a config file: it is read or refused with a place and a sentence, and what was read is said again the same.
#![no_main]

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use subrosa::config::{Config, Place};

static FILE: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("s.toml");
    (place, path)
});

fuzz_target!(|data: &str| {
    // The first line may set a variable.
    let (env, text) = match data.strip_prefix("SUBROSA_").and_then(|rest| rest.split_once('\n')) {
        Some((line, text)) => {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            (vec![(OsString::from(format!("SUBROSA_{name}")), OsString::from(value))], text)
        }
        None => (Vec::new(), data),
    };
    if env.iter().any(|(name, _)| name == "SUBROSA_CONFIG") {
        return;
    }
    std::fs::write(&FILE.1, text).expect("it is written");
    let lines = text.lines().count().max(1) + 1;
    match Config::load(Some(&FILE.1), env) {
        Ok(config) => {
            let _ = config.variables_read().count();
        }
        Err(fault) => {
            assert!(!fault.fault.trim().is_empty() && !fault.fault.contains('\n'), "{fault:?}");
            match &fault.place {
                Place::File { line: Some(line), .. } => assert!((1..=lines).contains(line), "{fault:?}"),
                // It lies between keys, or a default is at fault.
                Place::File { line: None, .. } | Place::Defaults => assert!(fault.key.is_some(), "{fault:?}"),
                Place::Variable(name) => assert!(name.starts_with("SUBROSA_"), "{fault:?}"),
            }
        }
    }
});
