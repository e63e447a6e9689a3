//! A page: three replicas, a thousand orders, one replica lost, every order still there.

use ordermint::{Error, OrderStore, Quorum, SetConfig, SetId};

fn main() -> Result<(), Error> {
    let home = std::env::temp_dir().join(format!("ordermint-quickstart-{}", std::process::id()));
    let store = OrderStore::builder()
        .home(&home)
        .quorum(Quorum::new(3, 2, 2)?)
        .add_set(SetConfig::new(SetId::new(7)?).replicas(["007/0", "007/1", "007/2"]))
        .open()?;

    let placed = store.create("two tickets to Shenzhen").wait()?;
    println!("placed {}", placed.number);
    let order = store.get(placed.number).wait()?.expect("an acknowledged order is there");
    println!("it says {:?}", String::from_utf8_lossy(&order.value));

    let mut created = 0;
    for placed in store.create_all((0..1_000).map(|n| format!("order {n}"))) {
        placed?;
        created += 1;
    }
    println!("placed {created} more");
    let found = store.scan(SetId::new(7)?, placed.number.day()).collect::<Result<Vec<_>, _>>()?;
    println!("found {} of {}", found.len(), created + 1);
    store.close().wait()
}
