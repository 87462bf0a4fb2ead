//! The runtimes that are tried: how each is found, and how it is made to send one request and print what it
//! got.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::cli::error::CliError;

/// How long it may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(20);
/// The field a reference is sent in.
const FIELD: &str = "X-Subrosa-Doctor";

/// One runtime.
pub(super) struct Runtime {
    /// As `--only` takes it.
    pub(super) name: &'static str,
    /// What succeeds where it is installed.
    present: &'static [&'static str],
    /// What sends the request; `$URL`, `$FIELD` and `$VALUE` are replaced.
    send: &'static [&'static str],
    /// A file that it needs, with its text.
    file: Option<(&'static str, &'static str)>,
    /// What to know about how it finds the proxy.
    pub(super) variables: &'static str,
    /// What to know about whom it trusts.
    pub(super) trust: &'static str,
}

const BOTH_CASES: &str = "It reads http_proxy and https_proxy.";
const BUNDLE: &str = "It trusts what SSL_CERT_FILE names, unless the program names something else.";

/// In the order in which they are tried.
const ALL: &[Runtime] = &[
    Runtime {
        name: "curl",
        present: &["curl", "--version"],
        send: &["curl", "-sS", "-g", "-m", "30", "-H", "$FIELD: $VALUE", "$URL"],
        file: None,
        variables: "It reads http_proxy in lower case only, and no variable with -q and --noproxy.",
        trust: "It trusts what CURL_CA_BUNDLE names; --cacert and ~/.curlrc go before.",
    },
    Runtime {
        name: "wget",
        present: &["wget", "--version"],
        send: &["wget", "-q", "-O", "-", "--tries=1", "--timeout=30", "--content-on-error", "--header=$FIELD: $VALUE", "$URL"],
        file: None,
        variables: BOTH_CASES,
        trust: "It trusts what SYSTEM_WGETRC says; ~/.wgetrc goes before.",
    },
    Runtime {
        name: "git",
        present: &["git", "--version"],
        send: &["sh", "-c", GIT, "sh", "$FIELD", "$VALUE", "$URL"],
        file: None,
        variables: "It reads http_proxy, https_proxy and its own http.proxy setting, which goes before.",
        trust: "It trusts what GIT_SSL_CAINFO names; the setting http.sslCAInfo is weaker.",
    },
    Runtime {
        name: "python",
        present: &["python3", "--version"],
        send: &["python3", "-c", PYTHON_URLLIB, "$URL", "$FIELD", "$VALUE"],
        file: None,
        variables: BOTH_CASES,
        trust: BUNDLE,
    },
    Runtime {
        name: "python-requests",
        present: &["python3", "-c", "import requests"],
        send: &[
            "python3",
            "-c",
            "import sys, requests; print(requests.get(sys.argv[1], headers={sys.argv[2]: sys.argv[3]}).text)",
            "$URL",
            "$FIELD",
            "$VALUE",
        ],
        file: None,
        variables: "It reads http_proxy and https_proxy unless a session has trust_env = False.",
        trust: "It trusts what REQUESTS_CA_BUNDLE names, unless a session has verify set.",
    },
    Runtime {
        name: "python-httpx",
        present: &["python3", "-c", "import httpx"],
        send: &[
            "python3",
            "-c",
            "import sys, httpx; print(httpx.get(sys.argv[1], headers={sys.argv[2]: sys.argv[3]}).text)",
            "$URL",
            "$FIELD",
            "$VALUE",
        ],
        file: None,
        variables: "It reads HTTP_PROXY and HTTPS_PROXY unless a client has trust_env = False.",
        trust: "From 0.28 on it trusts what SSL_CERT_FILE names.",
    },
    Runtime {
        name: "python-aiohttp",
        present: &["python3", "-c", "import aiohttp"],
        send: &["python3", "-c", PYTHON_AIOHTTP, "$URL", "$FIELD", "$VALUE"],
        file: None,
        variables: "It reads the variables only with ClientSession(trust_env=True).",
        trust: BUNDLE,
    },
    Runtime {
        name: "node",
        present: &["node", "--version"],
        send: &[
            "node",
            "-e",
            "fetch(process.argv[1], { headers: { [process.argv[2]]: process.argv[3] } }).then(answer => answer.text()).then(console.log).catch(fault => { console.error(String(fault.cause ?? fault)); process.exit(1); })",
            "$URL",
            "$FIELD",
            "$VALUE",
        ],
        file: None,
        variables: "Node reads them from 24 on (and 22.21), with NODE_USE_ENV_PROXY=1; older ones need an agent, as undici's EnvHttpProxyAgent.",
        trust: "It trusts what NODE_EXTRA_CA_CERTS names, which is read at its start.",
    },
    Runtime {
        name: "java",
        present: &["java", "-version"],
        send: &["java", "Doctor.java", "$URL", "$FIELD", "$VALUE"],
        file: Some(("Doctor.java", JAVA)),
        variables: "It reads properties only, which JAVA_TOOL_OPTIONS sets; the token needs a Proxy-Authorization field or an Authenticator.",
        trust: "It trusts what javax.net.ssl.trustStore names, unless the program has an SSLContext of its own.",
    },
    Runtime {
        name: "go",
        present: &["go", "version"],
        send: &["go", "run", "doctor.go", "$URL", "$FIELD", "$VALUE"],
        file: Some(("doctor.go", GO)),
        variables: "It reads HTTP_PROXY and HTTPS_PROXY where a Transport has Proxy: http.ProxyFromEnvironment, and never for this machine's own addresses.",
        trust: BUNDLE,
    },
    Runtime {
        name: "php",
        present: &["php", "-r", "exit(extension_loaded('curl') ? 0 : 1);"],
        send: &[
            "php",
            "-r",
            "$c = curl_init($argv[1]); curl_setopt($c, CURLOPT_HTTPHEADER, [\"$argv[2]: $argv[3]\"]); if (curl_exec($c) === false) { fwrite(STDERR, curl_error($c)); exit(1); }",
            "--",
            "$URL",
            "$FIELD",
            "$VALUE",
        ],
        file: None,
        variables: BOTH_CASES,
        trust: "It trusts what curl.cainfo says, in the directory that PHP_INI_SCAN_DIR names.",
    },
    Runtime {
        name: "ruby",
        present: &["ruby", "--version"],
        send: &[
            "ruby",
            "-rnet/http",
            "-e",
            "uri = URI(ARGV[0]); http = Net::HTTP.new(uri.host, uri.port); http.use_ssl = uri.scheme == 'https'; puts http.get(uri.request_uri, ARGV[1] => ARGV[2]).body",
            "$URL",
            "$FIELD",
            "$VALUE",
        ],
        file: None,
        variables: "It reads http_proxy, for https too, and never for this machine's own addresses.",
        trust: BUNDLE,
    },
    Runtime {
        name: "perl",
        present: &["perl", "-MLWP::Protocol::https", "-e", "1"],
        send: &[
            "perl",
            "-MLWP::UserAgent",
            "-e",
            "my $answer = LWP::UserAgent->new->get($ARGV[0], $ARGV[1] => $ARGV[2]); print $answer->decoded_content; exit($answer->header('Client-Warning') ? 1 : 0)",
            "$URL",
            "$FIELD",
            "$VALUE",
        ],
        file: None,
        variables: "It reads them with PERL_LWP_ENV_PROXY=1.",
        trust: "It trusts what PERL_LWP_SSL_CA_FILE names.",
    },
];

/// The origin need not be a repository: what counts is that it answered, and what the proxy says of itself.
const GIT: &str = "
said=$(LC_ALL=C GIT_CURL_VERBOSE=1 GIT_TERMINAL_PROMPT=0 git -c \"http.extraHeader=$1: $2\" ls-remote \"$3\" 2>&1)
printf '%s\\n' \"$said\" | grep -iE 'proxy-status: |^fatal'
case $said in
*'returned error'*) ;;
*'unable to access'*) exit 1 ;;
esac
";

const PYTHON_URLLIB: &str = "
import sys, urllib.error, urllib.request
try:
    answer = urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers={sys.argv[2]: sys.argv[3]}))
except urllib.error.HTTPError as refused:
    answer = refused
print(answer.read().decode(errors='replace'))
";

const PYTHON_AIOHTTP: &str = "
import asyncio, sys, aiohttp
async def main():
    async with aiohttp.ClientSession(trust_env=True) as client:
        async with client.get(sys.argv[1], headers={sys.argv[2]: sys.argv[3]}) as answer:
            print(await answer.text(errors='replace'))
asyncio.run(main())
";

const JAVA: &str = "
import java.net.*;
import java.net.http.*;
import java.util.Base64;
class Doctor {
    public static void main(String[] arguments) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(arguments[0])).header(arguments[1], arguments[2]);
        String pair = URI.create(System.getenv(\"HTTPS_PROXY\")).getUserInfo();
        if (pair != null) request.header(\"Proxy-Authorization\", \"Basic \" + Base64.getEncoder().encodeToString(pair.getBytes()));
        System.out.println(HttpClient.newHttpClient().send(request.build(), HttpResponse.BodyHandlers.ofString()).body());
    }
}
";

const GO: &str = "package main

import (
	\"fmt\"
	\"io\"
	\"net/http\"
	\"os\"
)

func main() {
	request, err := http.NewRequest(\"GET\", os.Args[1], nil)
	if err == nil {
		request.Header.Set(os.Args[2], os.Args[3])
		var answer *http.Response
		if answer, err = http.DefaultClient.Do(request); err == nil {
			body, _ := io.ReadAll(answer.Body)
			fmt.Println(string(body))
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
";

/// Those that `only` names, all without.
pub(super) fn chosen(only: &[String]) -> Result<Vec<&'static Runtime>, CliError> {
    if let Some(unknown) = only.iter().find(|name| ALL.iter().all(|runtime| runtime.name != **name)) {
        let known: Vec<&str> = ALL.iter().map(|runtime| runtime.name).collect();
        return Err(CliError::usage(format!("--only {unknown}: known are {}", known.join(", "))));
    }
    Ok(ALL.iter().filter(|runtime| only.is_empty() || only.iter().any(|name| name == runtime.name)).collect())
}

impl Runtime {
    /// Whether it is here.
    pub(super) async fn is_installed(&self) -> bool {
        let Some((program, rest)) = self.present.split_first() else { return false };
        let mut command = Command::new(program);
        command.args(rest).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        matches!(tokio::time::timeout(PATIENCE, command.status()).await, Ok(Ok(status)) if status.success())
    }

    /// What sends one request to `url`, with a reference to `secret`.
    pub(super) fn command(&self, url: &str, secret: Option<&str>, place: &Path) -> Result<Command, CliError> {
        if let Some((name, text)) = self.file {
            std::fs::write(place.join(name), text).map_err(CliError::failed)?;
        }
        let value = secret.map_or_else(|| "no secret".to_owned(), |name| format!("{{secrets.{name}}}"));
        let word = |word: &&str| match *word {
            "$URL" => url.to_owned(),
            "$FIELD" => FIELD.to_owned(),
            "$VALUE" => value.clone(),
            other if other.contains("$FIELD: $VALUE") => other.replace("$FIELD: $VALUE", &format!("{FIELD}: {value}")),
            other => other.to_owned(),
        };
        let words: Vec<String> = self.send.iter().map(word).collect();
        let (program, rest) = words.split_first().ok_or_else(|| CliError::failed("a runtime without a command"))?;
        let mut command = Command::new(program);
        command.args(rest);
        Ok(command)
    }
}
