//! Damaged requests on the wire: no panic, no invented intent, no 500 without a reason.

use std::time::Duration;

use crate::client::raw;
use crate::mutate;
use crate::rig::{Rig, nginx};

/// Damaged ones of each request of the corpus.
const DAMAGED: u64 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_requests_get_an_answer_or_none() {
    let rig = Rig::with(|settings| {
        settings.limits.request = Duration::from_millis(50);
        settings.limits.idle = Duration::from_millis(50);
    })
    .await
    .ready()
    .await;
    // This one may be asked for; any other intent is invented.
    rig.cloud.put(nginx());
    let mut requests = Vec::new();
    mutate::each("http", DAMAGED, |bytes| requests.push(bytes.to_vec()));
    let at = rig.at;
    for some in requests.chunks(32) {
        let replies = some
            .iter()
            .map(|request| async move { (request, raw(at, request).await) });
        for (request, reply) in futures::future::join_all(replies).await {
            let what = String::from_utf8_lossy(request);
            let reply = String::from_utf8_lossy(&reply);
            let Some(rest) = reply.strip_prefix("HTTP/1.") else {
                assert!(reply.is_empty(), "{what:?}: {reply:?}");
                continue;
            };
            let code: u16 = rest[2..5]
                .parse()
                .unwrap_or_else(|_| panic!("{what:?}: {reply:?}"));
            let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            assert!(code < 500 || !body.is_empty(), "{what:?}: {reply:?}");
        }
    }
    for intent in rig.intents().await {
        assert_eq!(
            (&intent["name"], &intent["uid"]),
            (&"nginx-a".into(), &"u1".into())
        );
    }
    assert!(rig.cloud.deletes() <= 1);
    rig.stop().await;
}
