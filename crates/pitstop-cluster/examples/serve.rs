//! Serves an empty cluster: `cargo run -p pitstop-cluster --example serve -- <kubeconfig to write> [data folder] [port]`.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use pitstop_cluster::{Cluster, Config, ServeConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let kubeconfig = arguments.next().map(PathBuf::from);
    let data = arguments
        .next()
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from);
    let port = arguments.next().map_or(Ok(0), |port| port.parse())?;
    let cluster = Cluster::start(Config {
        data,
        ..Config::default()
    })
    .await?;
    let addr = (Ipv4Addr::LOCALHOST, port).into();
    let serving = cluster.serve(ServeConfig { addr, kubeconfig }).await?;
    writeln!(std::io::stdout(), "serving on https://{}", serving.addr)?;
    tokio::signal::ctrl_c().await?;
    serving.shutdown().await;
    cluster.shutdown().await;
    Ok(())
}
