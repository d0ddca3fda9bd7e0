//! Carrying faults out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::Response;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Frame;

use super::Fault;
use crate::serve::{Body, Broken, Connection, full};

/// How long a body pauses before it breaks off: what was sent before must have reached the other side.
const FLUSH: Duration = Duration::from_millis(30);

/// Lets the faults happen that come before a request is carried out. `Ok(Some)` is an answer instead of the
/// real one.
pub(crate) async fn strike(
    faults: &[Fault],
    connection: &Connection,
) -> Result<Option<Response<Body>>, Broken> {
    for fault in faults {
        match fault {
            Fault::Latency(pause) => tokio::time::sleep(*pause).await,
            Fault::Reset => {
                connection.reset_on_close();
                return Err("reset by rule".into());
            }
            Fault::Close => return Err("closed by rule".into()),
            Fault::Hang => std::future::pending::<()>().await,
            Fault::Answer {
                status,
                headers,
                body,
            } => {
                let mut response = Response::builder().status(*status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                return Ok(Some(response.body(full(Bytes::from(body.clone())))?));
            }
            Fault::LoseAnswer
            | Fault::Truncate(_)
            | Fault::ResetAfter(_)
            | Fault::Corrupt(_)
            | Fault::Drip { .. } => {}
        }
    }
    Ok(None)
}

/// Lets the faults happen that concern the answer.
pub(crate) fn spoil(
    faults: &[Fault],
    response: Response<Body>,
    connection: &Arc<Connection>,
) -> Result<Response<Body>, Broken> {
    let mut response = response;
    for fault in faults {
        let (parts, body) = response.into_parts();
        let body = match fault {
            Fault::LoseAnswer => {
                connection.reset_on_close();
                return Err("answer lost by rule".into());
            }
            Fault::Truncate(bytes) => broken_off(body, *bytes, None),
            Fault::ResetAfter(bytes) => broken_off(body, *bytes, Some(connection.clone())),
            Fault::Corrupt(at) => corrupted(body, *at),
            Fault::Drip { bytes, every } => dripping(body, *bytes, *every),
            _ => body,
        };
        response = Response::from_parts(parts, body);
    }
    Ok(response)
}

fn data(body: Body) -> impl futures::Stream<Item = Result<Bytes, Broken>> + Send {
    BodyStream::new(body).filter_map(async |frame| match frame {
        Ok(frame) => frame.into_data().ok().map(Ok),
        Err(error) => Some(Err(error)),
    })
}

fn streamed(stream: impl futures::Stream<Item = Result<Bytes, Broken>> + Send + 'static) -> Body {
    StreamBody::new(stream.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

fn broken_off(body: Body, bytes: u64, reset: Option<Arc<Connection>>) -> Body {
    let state = (Box::pin(data(body)), bytes, reset);
    streamed(futures::stream::unfold(state, async |(mut body, left, reset)| {
        if left == 0 {
            tokio::time::sleep(FLUSH).await;
            if let Some(connection) = &reset {
                connection.reset_on_close();
            }
            return Some((Err(Broken::from("broken off by rule")), (body, 0, reset)));
        }
        let piece = body.next().await?;
        Some(match piece {
            Ok(mut piece) => {
                piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left.saturating_sub(piece.len() as u64);
                (Ok(piece), (body, left, reset))
            }
            Err(error) => (Err(error), (body, left, reset)),
        })
    }))
}

fn corrupted(body: Body, at: u64) -> Body {
    let mut passed = 0_u64;
    streamed(data(body).map(move |piece| {
        piece.map(|piece| {
            let start = passed;
            passed += piece.len() as u64;
            let Some(offset) = at.checked_sub(start).and_then(|o| usize::try_from(o).ok()) else {
                return piece;
            };
            let mut bytes = piece.to_vec();
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= 0xff;
            }
            Bytes::from(bytes)
        })
    }))
}

fn dripping(body: Body, bytes: usize, every: Duration) -> Body {
    let state = (Box::pin(data(body)), Bytes::new(), bytes, every);
    streamed(futures::stream::unfold(
        state,
        async |(mut body, mut rest, bytes, every)| {
            while rest.is_empty() {
                match body.next().await? {
                    Ok(piece) => rest = piece,
                    Err(error) => return Some((Err(error), (body, rest, bytes, every))),
                }
            }
            tokio::time::sleep(every).await;
            let piece = rest.split_to(bytes.clamp(1, rest.len()));
            Some((Ok(piece), (body, rest, bytes, every)))
        },
    ))
}
