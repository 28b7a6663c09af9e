use nuthatch::{config, stats, topology, worker};
use std::sync::Arc;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let loaded = config::load(std::path::Path::new(&path)).unwrap();
    let config = loaded.config;
    let names = config
        .pools
        .iter()
        .map(|p| stats::PoolNames {
            name: p.name.clone(),
            servers: p.servers.iter().map(|s| s.name.clone()).collect(),
        })
        .collect();
    let st = stats::Stats::new(names, 1);
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    rt.block_on(async move {
        let h = topology::task::spawn(&config, st.control.clone());
        let w = Arc::new(
            worker::Worker::spawn(worker::WorkerOptions {
                index: 0,
                topology: h.snapshots.clone(),
                events: h.events.clone(),
                stats: st.workers[0].clone(),
                memory_limit: 1 << 32,
            })
            .unwrap(),
        );
        for (i, p) in config.pools.iter().enumerate() {
            let config::Listen::Tcp(a) = p.listen else {
                panic!()
            };
            let l = tokio::net::TcpListener::bind(a).await.unwrap();
            let w = w.clone();
            tokio::spawn(async move {
                loop {
                    let (s, _) = l.accept().await.unwrap();
                    s.set_nodelay(true).unwrap();
                    w.assign(worker::NewClient {
                        pool: i as u16,
                        socket: worker::ClientSocket::Tcp(s.into_std().unwrap()),
                    });
                }
            });
        }
        std::future::pending::<()>().await;
    });
}
