//! Beside tokio: many tasks send, one thread writes, queries run on the blocking pool. `cargo run --example tokio_writer`
//!
//! The store is synchronous. `commit` waits for the disk, so it runs on a thread of its own, which makes one commit
//! of all that has come in meanwhile; a full channel slows the senders down.

use silverback::{Appender, Db, Labels, Options, Result, labels};
use tokio::sync::{mpsc, oneshot};

/// Samples to store, and whom to tell that they are durable.
struct Batch {
    samples: Vec<(Labels, i64, f64)>,
    done: oneshot::Sender<std::result::Result<(), String>>,
}

/// The writer: takes what waits, commits it together, and tells all who sent it.
fn write(mut app: Appender, mut inbox: mpsc::Receiver<Batch>) -> Result<()> {
    while let Some(first) = inbox.blocking_recv() {
        let mut batches = vec![first];
        while let (true, Ok(batch)) = (batches.len() < 1_000, inbox.try_recv()) {
            batches.push(batch);
        }
        for (labels, t, v) in batches.iter().flat_map(|b| &b.samples) {
            app.append(labels, *t, *v)?;
        }
        let outcome = app.commit().map(drop).map_err(|e| e.to_string());
        for batch in batches {
            // Who sent it may not wait any more.
            let _nobody_waits = batch.done.send(outcome.clone());
        }
    }
    Ok(())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().to_owned();
    // open, close and queries may wait for the disk: not on a worker of the runtime.
    let db = tokio::task::spawn_blocking(move || Db::open(path, Options::default())).await??;
    let (samples, inbox) = mpsc::channel(100);
    let app = db.appender()?;
    let writer = std::thread::spawn(move || write(app, inbox));

    let tasks: Vec<_> = (0..20)
        .map(|task| {
            let samples = samples.clone();
            tokio::spawn(async move {
                for i in 0..50_i64 {
                    let labels = labels!("requests_total", "task" => task).map_err(|e| e.to_string())?;
                    let (done, durable) = oneshot::channel();
                    let batch = Batch { samples: vec![(labels, i * 1_000, i as f64)], done };
                    samples.send(batch).await.map_err(|e| e.to_string())?;
                    durable.await.map_err(|e| e.to_string())??;
                }
                Ok::<(), String>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    drop(samples); // the writer ends
    writer.join().map_err(|_| "the writer panicked")??;

    let (reading, selector) = (db.clone(), "requests_total".parse()?);
    let found = tokio::task::spawn_blocking(move || -> Result<usize> {
        let mut found = 0;
        for series in reading.querier(0..i64::MAX)?.select(&selector)? {
            found += series?.samples().collect::<Result<Vec<_>>>()?.len();
        }
        Ok(found)
    });
    assert_eq!(found.await??, 1_000);
    let stats = db.stats();
    println!("1000 samples, each acknowledged: {} commits, {} syncs", stats.commits, stats.syncs);
    assert!(stats.commits <= 1_000);
    tokio::task::spawn_blocking(move || db.close()).await??;
    Ok(())
}
