//! What an API server offers beyond what every version does.

use http::Request;
use serde_json::Value;

/// Can the resources of running containers be changed in this cluster (`pods/resize`)? Where it does not say, they cannot.
///
/// Source: inplace.md 2, `InPlaceWorkloadVerticalScaling`.
pub(crate) async fn resizes_in_place(client: &kube::Client) -> bool {
    let Ok(request) = Request::get("/api/v1").body(Vec::new()) else {
        return false;
    };
    let found: Result<Value, _> = client.request(request).await;
    found.is_ok_and(|found| {
        let resources = found["resources"].as_array().into_iter().flatten();
        resources
            .into_iter()
            .any(|resource| resource["name"] == "pods/resize")
    })
}
