use super::*;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    Environment::new(pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
}

fn with(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::assemble(Some(&ConfigFile::from_text("s.toml", text)), environment(env))
}

fn fault(text: &str) -> String {
    with(text, &[]).expect_err(text).to_string()
}

fn fault_of(env: &[(&str, &str)]) -> String {
    Config::assemble(None, environment(env)).expect_err("a fault").to_string()
}

#[test]
fn the_written_file_holds_every_key_with_its_default() {
    let text = include_str!("../../config/subrosa.toml");
    assert_eq!(with(text, &[]), Ok(Config::default()));
    let written: toml::Table = toml::from_str(text).expect("it parses");
    let default = toml::Table::try_from(Config::default()).expect("it serialises");
    assert_eq!(keys(&written, ""), {
        let mut expected = keys(&default, "");
        expected.retain(|key| key != "secrets" && key != "runners");
        expected
    });
    // Keys without a default are shown as comments.
    for key in ["# anonymous = ", "# tls = ", "# env = ", "# [[secrets]]", "# [[runners]]"] {
        assert!(text.contains(key), "{key}");
    }
}

fn keys(table: &toml::Table, above: &str) -> Vec<String> {
    let one = |(name, value): (&String, &toml::Value)| match value {
        toml::Value::Table(inner) if !inner.is_empty() => keys(inner, &format!("{above}{name}.")),
        _ => vec![format!("{above}{name}")],
    };
    table.iter().flat_map(one).collect()
}

#[test]
fn every_key_of_the_written_file_has_a_comment_on_its_line() {
    for line in include_str!("../../config/subrosa.toml").lines() {
        let is_key =
            line.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        assert!(!is_key || line.contains(" # "), "{line}");
    }
}

#[test]
fn the_commented_examples_of_the_written_file_are_right() {
    let text = include_str!("../../config/subrosa.toml");
    let examples = text.split("# Secrets whose values").nth(1).expect("they are there");
    let lines = examples.lines().skip(1).filter(|line| !line.starts_with("# Runners whose"));
    let bare: Vec<&str> = lines.map(|line| line.trim_start_matches("# ")).collect();
    let config = with(&bare.join("\n"), &[]).expect("it parses");
    assert_eq!((config.secrets.len(), config.runners.len()), (1, 1));
}

#[test]
fn the_sidecar_example_is_right() {
    let config = with(include_str!("../../config/sidecar.toml"), &[("CHAT_WEBHOOK_PATH", "x")]).expect("it parses");
    assert_eq!(config.secrets.len(), 2);
    assert!(config.secrets[1].limits.url_encoded);
    assert_eq!(config.variables_read().map(VariableName::as_str).collect::<Vec<_>>(), ["CHAT_WEBHOOK_PATH"]);
}

#[test]
fn faults_name_file_line_key_and_cure() {
    for (text, expected) in [
        ("[proxy]\nlistn = []\n", "s.toml, line 2: `proxy.listn`: there is no key `listn` here; did you mean `listen`?"),
        ("[shutdown]\ncolour = 1\n", "s.toml, line 2: `shutdown.colour`: there is no key `colour` here; known are grace"),
        ("\n\n[prox]\n", "s.toml, line 3: `prox`: there is no key `prox` here; did you mean `proxy`?"),
        (
            "[proxy]\nlisten = \"127.0.0.1:1\"\n",
            "s.toml, line 2: `proxy.listen`: invalid type: string \"127.0.0.1:1\", expected a list, as in [\"…\"]",
        ),
        (
            "[proxy]\nlisten = [\"localhost:1\"]\n",
            "s.toml, line 2: `proxy.listen`: this is no address with a port, as in \"127.0.0.1:8080\" or \"[::1]:8080\"; names are not looked up",
        ),
        ("data_dir = 7\n", "s.toml, line 1: `data_dir`: invalid type: integer `7`, expected a path in quotes"),
        (
            "[proxy]\nworkers = -1\n",
            "s.toml, line 2: `proxy.workers`: invalid value: integer `-1`, expected a whole number, 0 or more",
        ),
        (
            "[proxy]\nworkers = 100000\n",
            "s.toml, line 2: `proxy.workers`: each worker is a thread; 0 is one per core, and 1024 is the most",
        ),
        (
            "[egress.resolve]\n\"A.test\" = \"10.0.0.1\"\n\"a.test.\" = \"10.0.0.2\"\n",
            "s.toml, line 1: `a.test` has two addresses in egress.resolve, and one host is meant; remove one",
        ),
        (
            "[timeouts]\nidle = 90\n",
            "s.toml, line 2: `timeouts.idle`: invalid type: integer `90`, expected a time with its unit in quotes, as in \"10s\", \"100ms\" or \"5m\"",
        ),
        (
            "[timeouts]\nidle = \"90\"\n",
            "s.toml, line 2: `timeouts.idle`: `90` is no time with a unit, as in \"10s\", \"100ms\" or \"5m\"",
        ),
        (
            "[injection]\nbuffer = \"lots\"\n",
            "s.toml, line 2: `injection.buffer`: `lots` is no size, as in \"64KiB\", \"1MiB\" or a number of bytes",
        ),
        (
            "[injection]\noversize = \"spol\"\n",
            "s.toml, line 2: `injection.oversize`: there is no word `spol` here; did you mean `spool`?",
        ),
        (
            "[intercept]\npass_through = [\"*.com\"]\n",
            "s.toml, line 2: `intercept.pass_through`: `*.com` would permit every name under a public suffix, whoever owns it; name a domain below it",
        ),
        (
            "[egress]\nallow = [\n  \"10.0.0.1/8\",\n]\n",
            "s.toml, line 2: `egress.allow`: `10.0.0.1/8` has bits beyond its prefix; the network meant is probably `10.0.0.0/8`",
        ),
        (
            "[egress.resolve]\n\"a.test\" = \"b.test\"\n",
            "s.toml, line 2: `egress.resolve.a.test`: `b.test` is no address, as in \"10.1.2.3\", \"10.1.2.3:8443\" or \"[fd00::1]:443\"",
        ),
        (
            "[[runners]]\nname = \"a\"\n",
            "s.toml, line 1: `runners[0]`: nobody could be this runner; add its token, or its certificate",
        ),
    ] {
        assert_eq!(fault(text), expected);
    }
    let fault = fault("data_dir = \n");
    assert!(fault.starts_with("s.toml, line 1: "), "{fault}");
}

#[test]
fn a_value_typed_into_the_file_is_not_repeated() {
    for value in ["\"hunter2\"", "{ text = \"hunter2\" }", "[\"hunter2\"]", "{ env = \"HUNTER2\", file = \"hunter2\" }"] {
        let fault = fault(&format!("[[secrets]]\nname = \"a\"\nvalue = {value}\n"));
        assert!(fault.starts_with("s.toml, line 3: `secrets[0].value"), "{fault}");
        assert!(!fault.contains("hunter2"), "{fault}");
    }
}

#[test]
fn contradictions_stop_the_start() {
    for (text, key, line, part) in [
        ("[proxy]\nlisten = []", "proxy.listen", 2, "needs an address"),
        ("[proxy]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]", "proxy.listen", 2, "is taken by `proxy.listen`"),
        ("[admin]\nlisten = [\"127.0.0.1:8080\"]", "admin.listen", 2, "is taken by `proxy.listen`"),
        ("[proxy]\nlisten = [\"0.0.0.0:8081\"]", "admin.listen", 0, "is taken by `proxy.listen`"),
        ("[proxy]\nsocks = [\"127.0.0.1:8080\"]", "proxy.socks", 2, "is taken by `proxy.listen`"),
        (
            "[[proxy.transparent]]\nlisten = \"0.0.0.0:8081\"\nrunner = \"a\"",
            "admin.listen",
            0,
            "is taken by `proxy.transparent`",
        ),
        ("[proxy]\nlisten_tls = [\"127.0.0.1:1\"]", "proxy.listen_tls", 2, "needs a certificate"),
        ("[proxy]\ntls = { certificate = \"c\", key = \"k\" }", "proxy.tls", 2, "proxy.listen_tls"),
        ("[admin]\n\nlisten = [\"0.0.0.0:9\"]", "admin.listen", 3, "needs TLS"),
        ("[admin]\ntls = { certificate = \"\", key = \"k\" }", "admin.tls", 2, "name both files"),
        ("[keys]\nfile = \"certs/k/kek\"", "keys.file", 2, "beside or below the CA certificate"),
        ("[intercept]\nca_key = \"data/ca-key.pem\"", "intercept.ca_key", 2, "backup"),
        ("[keys]\nfile = \"data/kek\"", "keys.file", 2, "backup"),
        ("[keys]\nfile = \"keys/ca-key.pem\"", "keys.file", 2, "intercept.ca_key already"),
        ("[keys]\ncredential = \"a/b\"", "keys.credential", 2, "without a path"),
        ("[injection]\nbuffer = 0", "injection.buffer", 2, "at least"),
        ("[injection]\nmax_growth = \"0B\"", "injection.max_growth", 2, "at least"),
        ("[limits]\nconnections = 0", "limits.connections", 2, "at least 1"),
        ("[limits]\nhead = \"1KiB\"", "limits.head", 2, "at least \"8KiB\""),
        ("[limits]\nheld = \"64KiB\"", "limits.held", 2, "injection.buffer, 1MiB"),
        ("[timeouts]\nbody = \"0s\"", "timeouts.body", 2, "a wait of 0"),
        ("[[egress.roots]]\nhosts = []\nfiles = [\"a\"]", "egress.roots[0].hosts", 2, "at least one"),
        ("[[egress.roots]]\nhosts = [\"a\"]\nfiles = []", "egress.roots[0].files", 3, "at least one"),
        (
            "[[egress.client_certificate]]\nhosts = []\ncertificate = \"c\"\nkey = \"k\"",
            "egress.client_certificate[0].hosts",
            2,
            "no host",
        ),
        ("[[injection.narrow]]\nhosts = []\nsurfaces = []", "injection.narrow[0].hosts", 2, "no host"),
        (
            "[[secrets]]\nname = \"a\"\nvalue = { env = \"A\" }\n[[secrets]]\nname = \"a\"\nvalue = { env = \"B\" }",
            "secrets[1].name",
            5,
            "declared twice",
        ),
        (
            "[[runners]]\nname = \"a\"\ntoken = { env = \"A\" }\n[[runners]]\nname = \"a\"\ntoken = { env = \"B\" }",
            "runners[1].name",
            5,
            "declared twice",
        ),
    ] {
        let fault = with(text, &[]).expect_err(text);
        let line = (line > 0).then_some(line);
        assert_eq!((fault.key.as_deref(), &fault.place), (Some(key), &Place::File { path: "s.toml".into(), line }), "{text}");
        assert!(fault.fault.contains(part), "{fault}");
    }
    assert!(with("[admin]\nlisten = [\"0.0.0.0:9\"]\ntls = \"terminated-elsewhere\"", &[]).is_ok());
    assert!(with("[proxy]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = [\"127.0.0.1:0\"]", &[]).is_ok());
}

#[test]
fn two_organizations_may_declare_one_name() {
    let text = "[[secrets]]\nname = \"a\"\nvalue = { env = \"A\" }\n\
                [[secrets]]\nname = \"a\"\norganization = \"other\"\nvalue = { env = \"B\" }";
    assert!(with(text, &[]).is_ok());
}

#[test]
fn variables_override_the_file() {
    let text = "data_dir = \"here\"\n[proxy]\nlisten = [\"127.0.0.1:1\"]\nworkers = 2\n";
    let config = with(
        text,
        &[
            ("SUBROSA_DATA_DIR", "there"),
            ("SUBROSA_PROXY__LISTEN", "127.0.0.1:2, [::1]:2"),
            ("SUBROSA_ADMIN__LISTEN", "[]"),
            ("SUBROSA_ADMIN__HOSTS", "[\"admin.example\"]"),
            ("SUBROSA_PROXY__ANONYMOUS", "default"),
            ("SUBROSA_INJECTION__BUFFER", "2MiB"),
            ("SUBROSA_EGRESS__RESOLVE", "{ \"a.test\" = \"10.0.0.1:8443\" }"),
            ("SUBROSA_CONFIG", "ignored here"),
            ("SUBROSA_TOKEN", "a caller's"),
            ("SUBROSA_SERVICE_HOST", "10.0.0.1"),
            ("PATH", "/bin"),
        ],
    )
    .expect("it is right");
    assert_eq!(config.data_dir, Path::new("there"));
    assert_eq!(config.proxy.listen.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.1:2", "[::1]:2"]);
    assert_eq!((config.proxy.workers, config.admin.listen.len()), (2, 0));
    assert_eq!(config.admin.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(), ["admin.example"]);
    assert_eq!(config.proxy.anonymous, Some(crate::secret::OrganizationName::default()));
    assert_eq!(config.injection.buffer, Size::mib(2));
    assert_eq!(config.egress.resolve.len(), 1);
}

#[test]
fn faults_of_variables_name_the_variable() {
    for (name, value, expected) in [
        (
            "SUBROSA_PROXY__LISTN",
            "x",
            "the environment variable SUBROSA_PROXY__LISTN: `proxy.listn`: there is no key `listn` here; did you mean `listen`?",
        ),
        (
            "SUBROSA_PROXY__LISTEN",
            "x",
            "the environment variable SUBROSA_PROXY__LISTEN: `proxy.listen`: this is no address with a port, as in \"127.0.0.1:8080\" or \"[::1]:8080\"; names are not looked up",
        ),
        (
            "SUBROSA_EGRESS_CLEARTEXT_SECRETS",
            "never",
            "the environment variable SUBROSA_EGRESS_CLEARTEXT_SECRETS: `egress_cleartext_secrets`: two underscores stand between section and key; did you mean `SUBROSA_EGRESS__CLEARTEXT_SECRETS`?",
        ),
        (
            "SUBROSA_DATA_DIRR",
            "x",
            "the environment variable SUBROSA_DATA_DIRR: `data_dirr`: there is no key `data_dirr` here; did you mean `data_dir`?",
        ),
        (
            "SUBROSA_INJECTION__BUFFER",
            "0",
            "the environment variable SUBROSA_INJECTION__BUFFER: `injection.buffer`: nothing could be injected into a body with 0; say at least \"1KiB\"",
        ),
        (
            "SUBROSA_DATA_DIR__X",
            "1",
            "the environment variable SUBROSA_DATA_DIR__X: `data_dir.x`: invalid type: map, expected a path in quotes",
        ),
    ] {
        assert_eq!(fault_of(&[(name, value)]), expected);
    }
}

#[test]
fn what_is_named_after_us_and_no_setting_is_left_alone_and_said() {
    let env =
        [("SUBROSA_BIN", "/bin/subrosa"), ("SUBROSA_VERSION", "1"), ("SUBROSA_KEK", "3"), ("SUBROSA_TOKEN", "t"), ("PATH", "")];
    let config = with("[keys]\nenv = \"SUBROSA_KEK\"\n", &env).expect("it is right");
    let said = |name: &str| format!("the environment variable {name} is no setting and is left alone");
    assert_eq!(config.remarks, [said("SUBROSA_BIN"), said("SUBROSA_VERSION")]);
}

#[test]
fn a_ca_key_beside_its_certificate_is_remarked_on() {
    let config = with("[intercept]\nca_certificate = \"pki/ca.pem\"\nca_key = \"pki/ca-key.pem\"\n", &[]).expect("it is right");
    assert!(config.remarks[0].contains("never hand out or mount pki as a whole"), "{:?}", config.remarks);
    assert!(with("", &[]).expect("it is right").remarks.is_empty());
}

#[test]
fn only_variables_that_the_config_names_are_kept() {
    let text = "[keys]\nenv = \"SUBROSA_KEK\"\n[[secrets]]\nname = \"a\"\nvalue = { env = \"A\" }\n";
    let env = [("A", "1"), ("B", "2"), ("SUBROSA_KEK", "3"), ("CREDENTIALS_DIRECTORY", "/run/c")];
    let config = with(text, &env).expect("it is right");
    assert_eq!(format!("{:?}", config.environment), r#"{"A", "CREDENTIALS_DIRECTORY", "SUBROSA_KEK"}"#);
    assert_eq!(config.environment.credentials_directory(), Some("/run/c".into()));
    let named = VariableName::parse("A").expect("a name");
    assert_eq!(config.environment.value(&named).as_deref(), Some(&b"1".to_vec()));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let fault = Config::load(Some(Path::new("/nowhere/s.toml")), []).expect_err("it is not there").to_string();
    assert!(fault.starts_with("/nowhere/s.toml: the config file cannot be read: "), "{fault}");
    let named = [(OsString::from("SUBROSA_CONFIG"), OsString::from("/nowhere/t.toml"))];
    assert!(Config::load(None, named).is_err_and(|fault| fault.to_string().starts_with("/nowhere/t.toml")));
    assert_eq!(Config::load(None, []), Ok(Config::default()));
}
