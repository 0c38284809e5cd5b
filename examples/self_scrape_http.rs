//! A service that serves its metrics, scrapes itself over HTTP, stores the pages, and answers queries.
//! `cargo run --example self_scrape_http --features import`: scrapes ten times and ends; with the argument `serve` it
//! scrapes each second until it is stopped.
//!
//! - `GET /metrics`: the store's own metrics, and this service's
//! - `GET /query?SELECTOR`: matching series with their newest sample, as text (`/query?silverback_commits_total`)

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use silverback::{Db, Labels, Options, Scrape};

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Fallible<()> {
    let forever = std::env::args().nth(1).is_some_and(|a| a == "serve");
    let dir = tempfile::tempdir()?;
    let db = Db::open(dir.path(), Options::default().retention(Duration::from_secs(86_400)))?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let serving = db.clone(); // clones are one handle
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            if let Err(e) = answer(&serving, stream, number) {
                eprintln!("{e}");
            }
        }
    });
    println!("http://{address}/metrics");

    let target = Labels::from_pairs([("job", "self"), ("instance", &address.to_string())])?;
    let (mut app, mut scrape) = (db.appender()?, Scrape::new(target));
    for round in 0.. {
        let t = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        match get(address, "/metrics") {
            Ok(page) => scrape.append(&mut app, page.as_bytes(), t)?,
            Err(_) => scrape.end(&mut app, t)?, // markers: all of its series are stale
        };
        app.commit()?;
        if round == 9 && !forever {
            break;
        }
        std::thread::sleep(Duration::from_millis(if forever { 1_000 } else { 5 }));
    }

    let answer = get(address, "/query?silverback_commits_total")?;
    print!("{answer}");
    assert!(answer.starts_with("{__name__=\"silverback_commits_total\", instance="), "{answer}");
    assert!(answer.contains(" 9 at "), "the tenth scrape saw nine commits: {answer}");
    Ok(db.close()?)
}

/// Answers one request.
fn answer(db: &Db, mut stream: TcpStream, number: usize) -> Fallible<()> {
    let mut request = String::new();
    let mut lines = BufReader::new(&stream).take(8_192);
    while lines.read_line(&mut request)? > 2 {} // the empty line ends it
    let path = request.split(' ').nth(1).unwrap_or("/");
    let (status, body) = match path.split_once('?') {
        None if path == "/metrics" => {
            let mut page = format!("# TYPE requests counter\nrequests_total {number}\n");
            db.write_openmetrics(&mut page)?; // ends with # EOF
            ("200 OK", page)
        }
        Some(("/query", selector)) => match query(db, selector) {
            Ok(lines) => ("200 OK", lines),
            Err(e) => ("400 Bad Request", format!("{e}\n")),
        },
        _ => ("404 Not Found", String::new()),
    };
    Ok(write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?)
}

fn query(db: &Db, selector: &str) -> Fallible<String> {
    let mut lines = String::new();
    for series in db.querier(0..i64::MAX)?.max_series(1_000).select(&selector.parse()?)? {
        let series = series?;
        if let Some(newest) = series.samples().last().transpose()? {
            lines.push_str(&format!("{} {} at {}\n", series.labels(), newest.v, newest.t));
        }
    }
    Ok(lines)
}

/// The body of a page.
fn get(address: SocketAddr, path: &str) -> Fallible<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    Ok(body.to_owned())
}
