//! A service on tokio: thousands of requests under way at once, no thread waiting for any of them.

use ordermint::{CreateOptions, Error, OrderStore, Quorum, SetConfig, SetId};
use std::time::Duration;

/// What a web framework would call for each request.
async fn place_order(store: OrderStore, body: String) -> Result<String, Error> {
    let placed = store.create_with(body, CreateOptions::new().deadline(Duration::from_secs(2))).await?;
    Ok(placed.number.to_string())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let home = std::env::temp_dir().join(format!("ordermint-tokio-{}", std::process::id()));
    // `open` blocks, so it does not belong on a runtime's thread.
    let store = tokio::task::spawn_blocking({
        let home = home.clone();
        move || {
            OrderStore::builder()
                .home(home)
                .quorum(Quorum::majority(3)?)
                .add_set(SetConfig::new(SetId::new(1)?).replicas(["001/0", "001/1", "001/2"]))
                .open()
        }
    })
    .await??;

    let requests: Vec<_> = (0..5_000).map(|n| tokio::spawn(place_order(store.clone(), format!("order {n}")))).collect();
    let mut numbers = Vec::new();
    for request in requests {
        numbers.push(request.await??);
    }
    numbers.sort_unstable();
    numbers.dedup();
    println!("{} orders placed, the first is {}", numbers.len(), numbers[0]);

    let number = numbers[0].parse()?;
    assert!(store.get(number).await?.is_some(), "an acknowledged order is there");
    store.close().await?;
    std::fs::remove_dir_all(home)?;
    Ok(())
}
