//! Calls to one node without the client crate's help.

use crate::region::Region;
use bytes::Bytes;
use sojourn_proto::sessions::{NAMESPACE_METADATA, v1::sessions_client::SessionsClient};
use tonic::{Request, transport::Channel};

/// A client of this node alone.
pub async fn client(region: &Region, node: usize) -> SessionsClient<Channel> {
    let client = SessionsClient::connect(format!("http://{}", region.address(node))).await.expect("connected");
    client.max_encoding_message_size(usize::MAX)
}

/// A message for a namespace.
pub fn request<T>(namespace: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(NAMESPACE_METADATA, namespace.parse().expect("a name"));
    request
}

/// Bytes of text.
pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
