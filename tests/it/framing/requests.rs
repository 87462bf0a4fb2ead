//! The table of raw requests, on every entry: each is refused in our own words, or exactly one request arrives whose
//! bytes have one meaning; what stands behind a refused one is never read, and what stands in a content stays there.

use super::entries::{Doors, Entry, Stream, ask, rest, told};
use crate::support::VALUE;

/// What a smuggler would have taken for a request of its own: 35 bytes, 23 in hexadecimal.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

/// Fields, of a POST, that are refused wherever they come.
const FIELDS: &[(&str, &str)] = &[
    ("CL.TE", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
    ("CL.TE with nothing announced", "Content-Length: 0\r\nTransfer-Encoding: chunked"),
    ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
    ("TE.CL in odd case", "tRANSFER-eNCODING: CHUNKED\r\ncONTENT-lENGTH: 5"),
    ("TE.CL, others in between", "Transfer-Encoding: chunked\r\nX: y\r\nX: z\r\nContent-Length: 5"),
    ("TE.CL, a length that is none", "Transfer-Encoding: chunked\r\nContent-Length: x"),
    ("TE.TE: chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    ("TE.TE: chunked and identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
    ("TE.TE: identity and chunked", "Transfer-Encoding: identity\r\nTransfer-encoding: chunked"),
    ("TE.TE: nothing and chunked", "Transfer-Encoding:\r\nTransfer-Encoding: chunked"),
    ("chunked, chunked", "Transfer-Encoding: chunked, chunked"),
    ("chunked, identity", "Transfer-Encoding: chunked, identity"),
    ("identity, chunked", "Transfer-Encoding: identity, chunked"),
    ("gzip, chunked", "Transfer-Encoding: gzip, chunked"),
    ("a comma behind chunked", "Transfer-Encoding: chunked,"),
    ("a comma before chunked", "Transfer-Encoding: ,chunked"),
    ("identity", "Transfer-Encoding: identity"),
    ("an empty coding", "Transfer-Encoding:"),
    ("xchunked", "Transfer-Encoding: xchunked"),
    ("chunked in quotes", "Transfer-Encoding: \"chunked\""),
    ("chunked with a parameter", "Transfer-Encoding: chunked;q=1"),
    ("chun ked", "Transfer-Encoding: chun ked"),
    ("chunked with the sign of Kelvin", "Transfer-Encoding: chun\u{212a}ed"),
    ("a vertical tab before chunked", "Transfer-Encoding:\u{b}chunked"),
    ("a vertical tab behind chunked", "Transfer-Encoding: chunked\u{b}"),
    ("a no-break space before chunked", "Transfer-Encoding: \u{a0}chunked"),
    ("a NUL behind chunked", "Transfer-Encoding: chunked\0"),
    ("a coding on a folded line", "Transfer-Encoding:\r\n chunked"),
    ("a coding behind a folded field", "X: y\r\n Transfer-Encoding: chunked"),
    ("a coding behind a bare LF", "Content-Length: 5\r\nX: y\nTransfer-Encoding: chunked"),
    ("a coding behind a bare CR", "Content-Length: 5\r\nX: y\rTransfer-Encoding: chunked"),
    ("a blank before the colon of a coding", "Transfer-Encoding : chunked"),
    ("a tab before the colon of a coding", "Content-Length: 5\r\nTransfer-Encoding\t: chunked"),
    ("a NUL in the name of a coding", "Content-Length: 5\r\nTransfer-Encoding\0: chunked"),
    ("a coding with an underscore", "Content-Length: 5\r\nTransfer_Encoding: chunked"),
    ("a length with an underscore", "Content-Length: 5\r\nContent_Length: 0"),
    ("two lengths", "Content-Length: 1\r\nContent-Length: 2"),
    ("two lengths, the first one nothing", "Content-Length: 0\r\nContent-Length: 40"),
    ("one length twice", "Content-Length: 1\r\ncontent-length: 1"),
    ("one length twice in one field", "Content-Length: 1, 1"),
    ("two lengths in one field", "Content-Length: 1,2"),
    ("two lengths by a blank", "Content-Length: 1 2"),
    ("a length with a plus", "Content-Length: +1"),
    ("a length with a minus", "Content-Length: -1"),
    ("a length in hexadecimal", "Content-Length: 0x1"),
    ("a length with an exponent", "Content-Length: 1e0"),
    ("a length with a point", "Content-Length: 1.0"),
    ("a length with an underscore within", "Content-Length: 1_0"),
    ("a length that others read as octal", "Content-Length: 010"),
    ("a length in other digits", "Content-Length: \u{ff11}"),
    ("a length and a letter", "Content-Length: 1a"),
    ("an empty length", "Content-Length:"),
    ("a vertical tab behind a length", "Content-Length: 1\u{b}"),
    ("a blank before the colon of a length", "Content-Length : 1"),
    ("a length of 2^63", "Content-Length: 9223372036854775808"),
    ("a length of 2^64", "Content-Length: 18446744073709551616"),
    ("a length of many digits", "Content-Length: 99999999999999999999999999"),
    ("folding", "X: a\r\n b"),
    ("folding by a tab", "X: a\r\n\tb"),
    ("folding to nothing", "X: a\r\n \r\nY: b"),
    ("a bare LF", "X: a\nY: b"),
    ("a bare LF at the end", "X: a\n"),
    ("a bare CR", "X: a\rb"),
    ("CR CR LF", "X: a\r\r\nY: b"),
    ("a NUL in a value", "X: a\0b"),
    ("a control in a value", "X: a\u{1}b"),
    ("DEL in a value", "X: a\u{7f}b"),
    ("a blank before a colon", "X : a"),
    ("a tab before a colon", "X\t: a"),
    ("a blank in a name", "X Y: a"),
    ("a name in quotes", "\"X\": a"),
    ("a name beyond ASCII", "\u{e4}: a"),
    ("a name with brackets", "X[]: a"),
    ("no name", ": a"),
    ("no colon", "X"),
    ("nothing but blanks", "  "),
    ("a second Host", "Host: evil.example.net"),
    ("the same Host again", "Host: HOST"),
    ("a second Host with a blank", "Host : evil.example.net"),
    ("a second Host, folded", "X: y\r\n Host: evil.example.net"),
];

/// Heads that are refused wherever they come. `BASE` stands for scheme and host where a target needs them.
const HEADS: &[(&str, &str)] = &[
    ("a coding in HTTP/1.0", "POST BASE/ HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("bare LF everywhere", "GET BASE/ HTTP/1.1\nHost: HOST\n\n"),
    ("a bare LF before the empty line", "GET BASE/ HTTP/1.1\r\nHost: HOST\n\r\n"),
    ("a bare LF for the empty line", "GET BASE/ HTTP/1.1\r\nHost: HOST\r\n\n"),
    ("a bare LF before the request line", "\nGET BASE/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a bare CR before the request line", "\rGET BASE/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a blank before the request line", " GET BASE/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a blank before the first field", "GET BASE/ HTTP/1.1\r\n Host: HOST\r\nHost: HOST\r\n\r\n"),
    ("a NUL in the method", "GE\0T BASE/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a NUL in the target", "GET BASE/\0 HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a control in the target", "GET BASE/\u{1} HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("DEL in the target", "GET BASE/\u{7f} HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a tab in the target", "GET BASE/a\tb HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a blank in the target", "GET BASE/a b HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a second request line in the target", "GET BASE/ HTTP/1.1 HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a CR in the target", "GET BASE/\r HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("two blanks before the target", "GET  BASE/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("two blanks behind the target", "GET BASE/  HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a tab before the target", "GET\tBASE/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a blank behind the version", "GET BASE/ HTTP/1.1 \r\nHost: HOST\r\n\r\n"),
    ("a fragment", "GET BASE/a#b HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a raw quote in the query", "GET BASE/?filter={\"a\":1} HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a raw < in the query", "GET BASE/?a<b HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a raw > in the query", "GET BASE/?a>b HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("no target", "GET HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a word for a target", "GET word HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a query for a target", "GET ?a=b HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("an authority for a target", "GET HOST:80 HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("another scheme", "GET ftp://HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a scheme with one slash", "GET http:/HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a scheme without a host", "GET http:///x HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a user before the host", "GET http://me@HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("two hosts by BASE", "GET http://HOST:80@evil.example.net/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("two hosts by a backslash", "GET http://HOST\\@evil.example.net/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("two hosts by a fragment", "GET http://HOST#@evil.example.net/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("two ports", "GET http://HOST:80:81/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("the asterisk of GET", "GET * HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a method that is none", "GE(T BASE/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("no version", "GET BASE/\r\nHost: HOST\r\n\r\n"),
    ("HTTP/0.9 by name", "GET BASE/ HTTP/0.9\r\nHost: HOST\r\n\r\n"),
    ("HTTP/1.2", "GET BASE/ HTTP/1.2\r\nHost: HOST\r\n\r\n"),
    ("HTTP/1.10", "GET BASE/ HTTP/1.10\r\nHost: HOST\r\n\r\n"),
    ("HTTP/01.1", "GET BASE/ HTTP/01.1\r\nHost: HOST\r\n\r\n"),
    ("HTTP/2.0", "GET BASE/ HTTP/2.0\r\nHost: HOST\r\n\r\n"),
    ("HTTP/2 by its preface", "PRI * HTTP/2.0\r\nHost: HOST\r\n\r\n"),
    ("http/1.1", "GET BASE/ http/1.1\r\nHost: HOST\r\n\r\n"),
    ("no Host", "GET BASE/ HTTP/1.1\r\nAccept: */*\r\n\r\n"),
    ("two Hosts in odd case", "GET BASE/ HTTP/1.1\r\nHost: HOST\r\nhOST: evil.example.net\r\n\r\n"),
    ("no HTTP at all", "\0\u{1}\u{2} what is this\r\n\r\n"),
    ("an answer for a request", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
];

/// What has one meaning, and is refused for that meaning; the connection goes on.
const MEANING: &[(&str, &str, &str)] = &[
    ("Connection names Host", "GET BASE/ HTTP/1.1\r\nHost: HOST\r\nConnection: close, Host\r\n\r\n", "malformed_request"),
    (
        "Connection names Content-Length",
        "POST BASE/ HTTP/1.1\r\nHost: HOST\r\nConnection: content-length\r\nContent-Length: 1\r\n\r\nx",
        "malformed_request",
    ),
    (
        "Connection names Authorization",
        "GET BASE/ HTTP/1.1\r\nHost: HOST\r\nConnection: authorization\r\nAuthorization: x\r\n\r\n",
        "malformed_request",
    ),
    (
        "a second Connection names Cookie",
        "GET BASE/ HTTP/1.1\r\nHost: HOST\r\nCookie: x\r\nConnection: x\r\nConnection: COOKIE\r\n\r\n",
        "malformed_request",
    ),
];

/// The same at the front: targets that name no host.
const HOSTLESS: &[(&str, &str, &str)] = &[
    ("a path", "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n", "malformed_request"),
    ("a host by two slashes", "GET //HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n", "malformed_request"),
    ("the asterisk", "OPTIONS * HTTP/1.1\r\nHost: HOST\r\n\r\n", "malformed_request"),
];

/// The same inside a tunnel: what Host and target may not say there.
const INSIDE: &[(&str, &str, &str)] = &[
    ("a tunnel inside the tunnel", "CONNECT HOST:443 HTTP/1.1\r\nHost: HOST\r\n\r\n", "malformed_request"),
    ("another Host", "GET / HTTP/1.1\r\nHost: evil.example.net\r\n\r\n", "misdirected"),
    ("another port in Host", "GET / HTTP/1.1\r\nHost: HOST:8443\r\n\r\n", "misdirected"),
    ("another host in the target", "GET http://evil.example.net/ HTTP/1.1\r\nHost: HOST\r\n\r\n", "misdirected"),
    ("another port in the target", "GET https://HOST:8443/ HTTP/1.1\r\nHost: HOST\r\n\r\n", "misdirected"),
    ("two hosts in one Host", "GET / HTTP/1.1\r\nHost: HOST, evil.example.net\r\n\r\n", "malformed_request"),
    ("two hosts by a blank", "GET / HTTP/1.1\r\nHost: HOST evil.example.net\r\n\r\n", "malformed_request"),
    ("a path in Host", "GET / HTTP/1.1\r\nHost: HOST/x\r\n\r\n", "malformed_request"),
    ("a user in Host", "GET / HTTP/1.1\r\nHost: evil.example.net@HOST\r\n\r\n", "malformed_request"),
    ("a scheme in Host", "GET / HTTP/1.1\r\nHost: https://HOST\r\n\r\n", "malformed_request"),
    ("two ports in Host", "GET / HTTP/1.1\r\nHost: HOST:443:443\r\n\r\n", "malformed_request"),
    ("an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "malformed_request"),
    ("a wrong Host in HTTP/1.0", "GET / HTTP/1.0\r\nHost: evil.example.net\r\n\r\n", "misdirected"),
];

/// At the front only: CONNECT with a content, or to what is no authority; and HTTP/2.
const FRONT: &[(&str, &str)] = &[
    ("CONNECT with a length", "CONNECT HOST:80 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 35\r\n\r\n"),
    ("CONNECT with a coding", "CONNECT HOST:80 HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("CONNECT with both", "CONNECT HOST:80 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("CONNECT with two lengths of nothing", "CONNECT HOST:80 HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"),
    ("CONNECT in HTTP/1.0 with a coding", "CONNECT HOST:80 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("CONNECT without a port", "CONNECT HOST HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("CONNECT to a path", "CONNECT /x HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("CONNECT to a URL", "CONNECT http://HOST:80/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("CONNECT to a path of a host", "CONNECT HOST:80/x HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("CONNECT to two hosts", "CONNECT HOST:80,evil.example.net:80 HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("CONNECT with a user", "CONNECT evil.example.net@HOST:80 HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("CONNECT to the asterisk", "CONNECT * HTTP/1.1\r\nHost: HOST\r\n\r\n"),
];

/// Chunked contents that are broken: refused, and never passed on as whole. What a smuggler adds stands behind.
const BROKEN: &[(&str, &str)] = &[
    ("a size with a plus", "+5\r\nhello\r\n0\r\n\r\n"),
    ("a size with a minus", "-5\r\nhello\r\n0\r\n\r\n"),
    ("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("a blank before a size", " 5\r\nhello\r\n0\r\n\r\n"),
    ("a blank behind a size", "5 \r\nhello\r\n0\r\n\r\n"),
    ("a tab behind a size", "5\t;a\r\nhello\r\n0\r\n\r\n"),
    ("a comma in a size", "5,0\r\nhello\r\n0\r\n\r\n"),
    ("an underscore in a size", "0_5\r\nhello\r\n0\r\n\r\n"),
    ("a size of 17 digits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("a size of zeros and a digit", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("no size", "\r\nhello\r\n0\r\n\r\n"),
    ("a size that is a word", "five\r\nhello\r\n0\r\n\r\n"),
    ("a bare LF behind a size", "5\nhello\r\n0\r\n\r\n"),
    ("a bare CR behind a size", "5\rhello\r\n0\r\n\r\n"),
    ("CR CR LF behind a size", "5\r\r\nhello\r\n0\r\n\r\n"),
    ("a bare LF in an extension", "5;a\nhello\r\n0\r\n\r\n"),
    ("a bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("a line end in a quoted extension", "5;a=\"\r\nhello\r\n0\r\n\r\n\"\nhello\r\n0\r\n\r\n"),
    ("a NUL in an extension", "5;\0\r\nhello\r\n0\r\n\r\n"),
    ("a long chunk", "5\r\nhello!\r\n0\r\n\r\n"),
    ("a short chunk", "5\r\nhell\r\n0\r\n\r\n"),
    ("a bare LF behind a chunk", "5\r\nhello\n0\r\n\r\n"),
    ("no line end behind a chunk", "5\r\nhello0\r\n\r\n"),
    ("a bare LF behind the last size", "0\n\r\n"),
    ("a bare LF for the last line", "5\r\nhello\r\n0\r\n\n"),
    ("a blank on the last line", "5\r\nhello\r\n0\r\n \r\n\r\n"),
    ("a folded trailer", "0\r\nX: y\r\n z\r\n\r\n"),
    ("a bare LF in a trailer", "0\r\nX: y\nZ: a\r\n\r\n"),
    ("a bare CR in a trailer", "0\r\nX: y\rZ: a\r\n\r\n"),
    ("a NUL in a trailer", "0\r\nX: \0\r\n\r\n"),
    ("a trailer without a colon", "0\r\nX\r\n\r\n"),
    ("a blank before a trailer's colon", "0\r\nX : y\r\n\r\n"),
    ("a request line for a trailer", "0\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"),
];

/// Trailers that rule framing: refused alike, but the content has its end.
const TRAILERS: &[(&str, &str)] = &[
    ("a length for a trailer", "0\r\nContent-Length: 5\r\n\r\n"),
    ("a coding for a trailer", "0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("a host for a trailer", "0\r\nHost: evil.example.net\r\n\r\n"),
    ("Connection for a trailer", "5\r\nhello\r\n0\r\nX: y\r\nConnection: x\r\n\r\n"),
];

/// Requests of which exactly one arrives: what was sent, the head (fields in any order), and the content.
const ARRIVES: &[(&str, &str, &str, &str)] = &[
    (
        "a content that reads like a request",
        "POST BASE/ HTTP/1.1\r\nHost: HOST\r\nContent-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 35\r\n\r\n",
        SMUGGLED,
    ),
    (
        "the same of GET",
        "GET BASE/ HTTP/1.1\r\nHost: HOST\r\nContent-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 35\r\n\r\n",
        SMUGGLED,
    ),
    (
        "blanks around a length",
        "POST BASE/ HTTP/1.1\r\nHost: HOST\r\nContent-Length:\t 35 \t\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 35\r\n\r\n",
        SMUGGLED,
    ),
    (
        "a chunk that reads like a request",
        "POST BASE/ HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n23\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n",
        "23\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n\r\n0\r\n\r\n",
    ),
    (
        "a coding in odd case, with blanks and without one",
        "POST BASE/ HTTP/1.1\r\nHost: HOST\r\ntransfer-encoding:\tCHUNKED \r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: HOST\r\ntransfer-encoding: chunked\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "extensions of chunks",
        "POST BASE/ HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n5;a;b=\"0 5\"\r\nhello\r\n000;c\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "sizes with zeros before and letters in both cases",
        "POST BASE/ HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0000000A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n",
        "14\r\n01234567890123456789\r\n0\r\n\r\n",
    ),
    (
        "empty lines before the request line",
        "\r\n\r\nGET BASE/ HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "",
    ),
    (
        "h2c",
        "GET BASE/ HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "",
    ),
    (
        "h2c that Connection does not name",
        "GET BASE/ HTTP/1.1\r\nHost: HOST\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "",
    ),
    (
        "h2c behind a WebSocket",
        "GET BASE/ HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "",
    ),
    (
        "h2c beside a WebSocket",
        "GET BASE/ HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: H2C\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "",
    ),
    (
        "TLS for an upgrade",
        "GET BASE/ HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "",
    ),
    (
        "a WebSocket that the upstream does not want",
        "GET BASE/ HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "",
    ),
    (
        "a WebSocket with a content",
        "POST BASE/ HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 35\r\n\r\n",
        SMUGGLED,
    ),
    (
        "Expect and the content at once",
        "POST BASE/ HTTP/1.1\r\nHost: HOST\r\nExpect: 100-continue\r\nContent-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: HOST\r\nExpect: 100-continue\r\nContent-Length: 35\r\n\r\n",
        SMUGGLED,
    ),
    (
        "Expect without a content",
        "GET BASE/ HTTP/1.1\r\nHost: HOST\r\nExpect: 100-continue\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: HOST\r\nExpect: 100-continue\r\n\r\n",
        "",
    ),
    (
        "something else expected",
        "POST BASE/ HTTP/1.1\r\nHost: HOST\r\nExpect: y 100-continue\r\nContent-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: HOST\r\nExpect: y 100-continue\r\nContent-Length: 35\r\n\r\n",
        SMUGGLED,
    ),
    (
        "fields of the connection",
        "POST BASE/ HTTP/1.1\r\nHost: HOST\r\nKeep-Alive: x\r\nTE: gzip\r\nProxy-Connection: close\r\nX-Hop: 1\r\nConnection: x-hop, keep-alive, transfer-encoding, \u{ff}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "a path that looks like a host",
        "GET BASE//evil.example.net/../%2e%2e/%00?a=/// HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "GET //evil.example.net/../%2e%2e/%00?a=/// HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "",
    ),
    ("a method of its own", "get BASE/ HTTP/1.1\r\nHost: HOST\r\n\r\n", "get / HTTP/1.1\r\nHost: HOST\r\n\r\n", ""),
];

/// The same for those behind which the connection ends.
const ARRIVES_LAST: &[(&str, &str, &str, &str)] = &[
    (
        "Connection: close",
        "GET BASE/ HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n",
        "",
    ),
    ("HTTP/1.0 without Host", "GET BASE/ HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nhost: HOST\r\n\r\n", ""),
    (
        "HTTP/1.0 with a length",
        "POST BASE/ HTTP/1.0\r\nHost: HOST\r\nContent-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 35\r\n\r\n",
        SMUGGLED,
    ),
];

/// The one that shows that a connection goes on in step.
const NEXT: &str = "GET BASE/next HTTP/1.1\r\nHost: HOST\r\nX-Key: {secrets.crm.apiKey}\r\n\r\n";

#[tokio::test]
async fn on_the_port() {
    every_request(Entry::Port).await;
}

#[tokio::test]
async fn on_the_port_with_tls() {
    every_request(Entry::TlsPort).await;
}

#[tokio::test]
async fn inside_tls_in_a_tunnel() {
    every_request(Entry::Tunnel).await;
}

#[tokio::test]
async fn in_the_clear_in_a_tunnel() {
    every_request(Entry::PlainTunnel).await;
}

#[tokio::test]
async fn inside_tls_in_a_tunnel_of_socks() {
    every_request(Entry::Socks).await;
}

/// Every request of the tables by one way in; what is wrong is told of all of them.
async fn every_request(entry: Entry) {
    let doors = Doors::new().await;
    let mut wrong = Vec::new();
    let mut note = |what: &str, done: Result<(), String>| wrong.extend(done.err().map(|fault| format!("{what}: {fault}")));
    for (what, fields) in FIELDS {
        let head = format!("POST BASE/ HTTP/1.1\r\nHost: HOST\r\n{fields}\r\n\r\n");
        note(what, refused(&doors, entry, &head).await);
    }
    for (what, head) in HEADS.iter().chain(FRONT.iter().filter(|_| entry.is_front())) {
        note(what, refused(&doors, entry, head).await);
    }
    let (broken_ones, trailers) = (BROKEN.iter().map(|it| (it, NEXT)), TRAILERS.iter().map(|it| (it, "")));
    for ((what, content), behind) in broken_ones.chain(trailers) {
        for media_type in ["text/plain", "image/png"] {
            let head =
                format!("POST BASE/ HTTP/1.1\r\nHost: HOST\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked\r\n\r\n");
            note(what, broken(&doors, entry, &format!("{head}{content}{behind}")).await);
        }
    }
    let other = if entry.is_front() { HOSTLESS } else { INSIDE };
    for (what, head, code) in MEANING.iter().chain(other) {
        note(what, turned_away(&doors, entry, head, code).await);
    }
    for (what, request, head, content) in ARRIVES {
        note(what, arrives(&doors, entry, request, (head, content)).await);
    }
    for (what, request, head, content) in ARRIVES_LAST {
        note(what, arrives_last(&doors, entry, request, (head, content)).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[allow(clippy::needless_pass_by_value, reason = "tuples are made for it")]
pub fn same<T: PartialEq + std::fmt::Debug>(found: T, wanted: T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{found:?} instead of {wanted:?}")) }
}

/// It gets our refusal, nobody is dialled, and what stands behind is not read.
async fn refused(doors: &Doors, entry: Entry, request: &str) -> Result<(), String> {
    let before = doors.seen();
    broken(doors, entry, &format!("{request}0\r\n\r\n{NEXT}")).await?;
    same(doors.seen(), before)
}

/// It gets our refusal; somebody may have been dialled, and sees nothing that is whole.
async fn broken(doors: &Doors, entry: Entry, request: &str) -> Result<(), String> {
    let before = doors.seen().0;
    let mut stream = doors.open(entry).await;
    let response = ask(&mut stream, &entry.write(request)).await?;
    same((response.status(), told(&response).as_str()), (400, "malformed_request"))?;
    same((rest(&mut stream).await.as_str(), doors.seen().0), ("", before))
}

/// It gets this refusal, nobody is dialled, and the connection goes on.
async fn turned_away(doors: &Doors, entry: Entry, request: &str, code: &str) -> Result<(), String> {
    let before = doors.seen();
    let mut stream = doors.open(entry).await;
    let response = ask(&mut stream, &entry.write(request)).await?;
    same((told(&response).as_str(), doors.seen()), (code, before))
}

/// Exactly this arrives, is answered, and the next one is the next one.
async fn arrives(doors: &Doors, entry: Entry, request: &str, wanted: (&str, &str)) -> Result<(), String> {
    let (mut stream, before) = (doors.open(entry).await, doors.seen().0);
    one(doors, entry, &mut stream, (request, before), wanted).await?;
    same(ask(&mut stream, &entry.write(NEXT)).await?.text().as_str(), "ok")?;
    let next = doors.origin(entry).received().pop().expect("something arrived");
    same((next.line(), next.field("x-key"), doors.seen().0), ("GET /next HTTP/1.1", VALUE, before + 2))
}

/// Exactly this arrives and is answered; what stands behind is not read.
async fn arrives_last(doors: &Doors, entry: Entry, request: &str, wanted: (&str, &str)) -> Result<(), String> {
    let (mut stream, before) = (doors.open(entry).await, doors.seen().0);
    one(doors, entry, &mut stream, (&format!("{request}{NEXT}"), before), wanted).await?;
    same((rest(&mut stream).await.as_str(), doors.seen().0), ("", before + 1))
}

async fn one(
    doors: &Doors,
    entry: Entry,
    stream: &mut Box<dyn Stream>,
    (request, before): (&str, usize),
    (head, content): (&str, &str),
) -> Result<(), String> {
    let mut response = ask(stream, &entry.write(request)).await?;
    if response.status() == 100 {
        response = ask(stream, "").await?;
    }
    same((response.status(), response.text().as_str(), doors.seen().0), (200, "ok", before + 1))?;
    let got = doors.origin(entry).received().pop().expect("it arrived");
    same((lines(&got.head), got.text().as_str()), (lines(&entry.write(head)), content))
}

/// The request line, and the fields in an order of ours; a line that ends otherwise than in CRLF shows.
pub fn lines(head: &str) -> Vec<String> {
    let mut lines: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
    lines[1..].sort_unstable();
    lines
}
