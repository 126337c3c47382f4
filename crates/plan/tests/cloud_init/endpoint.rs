//! An HTTP server on loopback that machines phone home to and fetch from.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A form that was posted.
pub(crate) type Form = BTreeMap<String, String>;

/// The server. It runs until the test ends.
pub(crate) struct Endpoint {
    port: u16,
    posts: Arc<Mutex<Vec<(String, String)>>>,
}

impl Endpoint {
    /// Starts one that answers GET with `pages`, by path.
    pub(crate) fn start(pages: &[(&str, String)]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let posts = Arc::default();
        let (found, pages) = (Arc::clone(&posts), pages.iter().map(|(path, text)| ((*path).to_owned(), text.clone())));
        let pages: BTreeMap<String, String> = pages.collect();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A caller that breaks off has nothing to be told.
                let _ = answer(&stream, &pages, &found);
            }
        });
        Self { port, posts }
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The forms that were posted to a path.
    pub(crate) fn posts(&self, path: &str) -> Vec<Form> {
        let all = self.all();
        all.iter().filter(|(to, _)| to == path).map(|(_, body)| form(body)).collect()
    }

    /// All that was posted: paths and bodies.
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        self.posts.lock().expect("a lock").clone()
    }
}

fn answer(
    stream: &TcpStream,
    pages: &BTreeMap<String, String>,
    posts: &Mutex<Vec<(String, String)>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    while head.last().is_none_or(|line: &String| !line.trim().is_empty()) {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        head.push(line);
    }
    let length = head.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<u64>().ok())?
    });
    let mut body = String::new();
    reader.take(length.unwrap_or_default()).read_to_string(&mut body)?;
    let mut request = head[0].split(' ');
    let (method, path) = (request.next().unwrap_or_default(), request.next().unwrap_or_default());
    let page = if method == "POST" {
        posts.lock().expect("a lock").push((path.to_owned(), body));
        Some("")
    } else {
        pages.get(path).map(String::as_str)
    };
    let status = if page.is_some() { "200 OK" } else { "404 Not Found" };
    let page = page.unwrap_or_default();
    write!(&*stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}", page.len())
}

fn form(body: &str) -> Form {
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decode(key), decode(value))).collect()
}

/// Decodes `application/x-www-form-urlencoded`.
fn decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits);
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
