//! A real nutcracker and we agree on the place of every key, in pools drawn at random.
//!
//! Needs the program of Debian's package `nutcracker`. Each run draws other pools; a failure prints the seed
//! that repeats it.

#[path = "placement/backends.rs"]
mod backends;
#[path = "placement/layout.rs"]
mod layout;
#[path = "placement/nutcracker.rs"]
mod nutcracker;
mod placement;

use std::env;
use std::path::PathBuf;

use backends::Backends;
use layout::Layout;
use nutcracker::Nutcracker;
use placement::Pool;

const LAYOUTS: usize = 24;
const LAYOUTS_WITH_DEAD: usize = 12;

/// Long enough that nobody returns during a test.
const EJECT_AT_ONCE: &str =
    "  auto_eject_hosts: true\n  server_failure_limit: 1\n  server_retry_timeout: 3600000\n";

/// The program, or `None` if this run shall do without.
fn program() -> Option<PathBuf> {
    if env::var_os("NUTHATCH_SKIP_NUTCRACKER").is_some_and(|value| value == "1") {
        println!("skipped: NUTHATCH_SKIP_NUTCRACKER=1");
        return None;
    }
    let program = nutcracker::find();
    assert!(
        program.is_some(),
        "nutcracker is not installed: `apt-get install nutcracker`, or set NUTHATCH_SKIP_NUTCRACKER=1"
    );
    program
}

fn seeded() -> fastrand::Rng {
    let seed = match env::var("NUTHATCH_SEED") {
        Ok(seed) => seed.parse().expect("NUTHATCH_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("repeat with NUTHATCH_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

#[tokio::test]
async fn keys_go_where_nutcracker_sends_them() {
    let Some(program) = program() else { return };
    let mut rng = seeded();
    let directory = tempfile::tempdir().unwrap();
    let backends = Backends::start(&mut rng, directory.path()).await;
    for _ in 0..LAYOUTS {
        let layout = Layout::random(&mut rng, &backends);
        let keys = layout.keys(&mut rng);
        let nutcracker = Nutcracker::start(&program, &mut rng, &layout, "").await;
        for (i, &(hash, distribution)) in nutcracker.pools.iter().enumerate() {
            let tag = layout.hash_tag.as_deref();
            let pool = Pool::new(&layout.lines, hash, distribution, tag, &[]);
            let replies = nutcracker.connect(i).await.ask(&keys).await;
            for (key, reply) in keys.iter().zip(replies) {
                let ours = layout.backends[pool.place(key)].expect("a live server");
                let key = key.escape_ascii();
                assert_eq!(
                    reply,
                    Ok(ours),
                    "{hash:?} {distribution:?} {key} {layout:#?}"
                );
            }
        }
    }
}

/// One key at a time: whether a key's server is dead decides where the keys after it go.
#[tokio::test]
async fn keys_go_where_nutcracker_sends_them_while_servers_are_ejected() {
    let Some(program) = program() else { return };
    let mut rng = seeded();
    let directory = tempfile::tempdir().unwrap();
    let backends = Backends::start(&mut rng, directory.path()).await;
    let mut ejections = 0;
    for _ in 0..LAYOUTS_WITH_DEAD {
        let layout = Layout::with_dead(&mut rng, &backends);
        let keys = layout.keys(&mut rng);
        let nutcracker = Nutcracker::start(&program, &mut rng, &layout, EJECT_AT_ONCE).await;
        for (i, &(hash, distribution)) in nutcracker.pools.iter().enumerate() {
            let without = |ejected: &[usize]| {
                let tag = layout.hash_tag.as_deref();
                Pool::new(&layout.lines, hash, distribution, tag, ejected)
            };
            let mut ejected = Vec::new();
            let mut pool = without(&ejected);
            let mut client = nutcracker.connect(i).await;
            for key in keys.chunks(1) {
                let place = pool.place(&key[0]);
                let reply = client.ask(key).await.remove(0);
                let key = key[0].escape_ascii();
                assert_eq!(
                    reply.as_ref().ok(),
                    layout.backends[place].as_ref(),
                    "{reply:?} {hash:?} {distribution:?} {key} without {ejected:?} {layout:#?}"
                );
                if reply.is_err() {
                    ejected.push(place);
                    pool = without(&ejected);
                    ejections += 1;
                }
            }
        }
    }
    assert!(ejections > LAYOUTS_WITH_DEAD, "{ejections} ejections");
}
