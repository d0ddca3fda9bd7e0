//! Asking another process's admin server whether it is ready.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long the whole question may take.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest answer that is read: a line per part that is not ready.
pub const ASK_BYTES: u64 = 64 << 10;

/// Asks `host:port` for `/readyz`.
///
/// # Errors
/// With the answer, if it is not ready; else with what went wrong.
pub async fn ready(address: &str) -> Result<(), String> {
    let failed = |why: String| format!("{address} does not answer whether it is ready: {why}");
    match tokio::time::timeout(ASK_TIMEOUT, get(address)).await {
        Err(_) => Err(failed(format!("no answer within {} s", ASK_TIMEOUT.as_secs()))),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Ok(Ok(answer)) => judge(&answer).map_err(|why| format!("{address} is not ready: {why}")),
    }
}

async fn get(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // Without keep-alive the end of the answer is the end of the connection, and it is never chunked.
    let request = format!("GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ASK_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn judge(answer: &str) -> Result<(), String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).unwrap_or("no status");
    match status {
        "200" => Ok(()),
        _ => Err(format!("{status} {}", body.trim().replace('\n', "; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_by_its_status() {
        assert_eq!(judge("HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nok\n"), Ok(()));
        let not =
            judge("HTTP/1.1 503 Service Unavailable\r\n\r\nleadership: standing by\nsecrets: filling\n");
        assert_eq!(
            not,
            Err("503 leadership: standing by; secrets: filling".to_owned())
        );
        assert!(judge("").is_err() && judge("SSH-2.0-x\r\n").is_err());
    }
}
