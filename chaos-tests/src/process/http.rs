//! As much of HTTP as probes and visitors need: one request a connection.

use anyhow::Context;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET`, `POST`, ...
    pub method: &'a str,
    /// What is asked for.
    pub path: &'a str,
    /// The cookie that is sent along.
    pub cookie: Option<&'a str>,
    /// A body in JSON; empty for none.
    pub json: &'a str,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// The first cookie that it sets, without its attributes.
    pub cookie: Option<String>,
    /// Its body.
    pub body: String,
}

impl<'a> Request<'a> {
    /// `GET path`.
    pub fn get(path: &'a str) -> Self {
        Self { method: "GET", path, cookie: None, json: "", timeout: PROBE_TIMEOUT }
    }

    /// Sends it and waits for the answer.
    ///
    /// # Errors
    /// No answer in time, or none that is HTTP.
    pub fn send(&self, address: SocketAddr) -> anyhow::Result<Response> {
        let mut stream = TcpStream::connect_timeout(&address, self.timeout)?;
        stream.set_read_timeout(Some(self.timeout))?;
        let cookie = self.cookie.map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        let head = format!("{} {} HTTP/1.0\r\nHost: {address}\r\n{cookie}", self.method, self.path);
        let body =
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}", self.json.len(), self.json);
        stream.write_all((head + &body).as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&String::from_utf8_lossy(&answer))
    }
}

fn parse(answer: &str) -> anyhow::Result<Response> {
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer that is not HTTP")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("an answer without a status")?;
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let mut cookies = headers.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let cookie = cookies.next().and_then(|(_, value)| value.split(';').next().map(str::to_owned));
    Ok(Response { status, cookie, body: body.to_owned() })
}

/// The status and the body of `GET path`.
///
/// # Errors
/// See [`Request::send`].
pub fn http_get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    Request::get(path).send(address).map(|response| (response.status, response.body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let text = "HTTP/1.1 200 OK\r\nset-cookie: sid=abc; Path=/; HttpOnly\r\n\r\nhello";
        let response = Response { status: 200, cookie: Some("sid=abc".to_owned()), body: "hello".to_owned() };
        assert_eq!(parse(text).expect("HTTP"), response);
    }
}
