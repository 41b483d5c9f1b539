//! The orders in which assets are listed, and their pages.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::assets::{Asset, Listing, Order};
use reelfleet_catalog::details::Details;

use crate::story::{NOW, step};

/// Of whatever there is.
pub async fn tell(catalog: &Catalog) {
    let all = Listing {
        tenant: "default",
        owner: None,
        order: Order::Newest,
        before: None,
        state: None,
        text: None,
        limit: 100,
    };
    let found = catalog.assets(all).await.unwrap();
    assert!(found.len() >= 4, "enough to be put in order");
    for (asset, name) in found.iter().zip(["beta", "Alpha", "alpha", "Zeta"]) {
        catalog.edit(&step(NOW), asset, &Details { name: name.into(), ..Details::of(asset) }).await.unwrap();
    }
    for order in Order::ALL {
        let whole = catalog.assets(Listing { order, ..all }).await.unwrap();
        assert_eq!(whole.len(), found.len());
        let in_order = |a: &Asset, b: &Asset| match order {
            Order::Newest => a.id > b.id,
            Order::Name => {
                let (before, after) = (a.name.to_lowercase(), b.name.to_lowercase());
                before < after || (before == after && a.id > b.id)
            }
            Order::Longest => (a.duration_ms, a.id) > (b.duration_ms, b.id),
            Order::Largest => (a.size, a.id) > (b.size, b.id),
        };
        let ids: Vec<_> = whole.iter().map(|asset| asset.id).collect();
        assert!(whole.iter().zip(&whole[1..]).all(|(a, b)| in_order(a, b)), "{order:?}: {ids:?}");
        let mut paged = Vec::new();
        loop {
            let before = paged.last().map(ToString::to_string);
            let page = catalog.assets(Listing { order, before: before.as_deref(), limit: 2, ..all }).await.unwrap();
            if page.is_empty() {
                break;
            }
            paged.extend(page.iter().map(|asset: &Asset| asset.id));
        }
        assert_eq!(paged, ids, "{order:?}: pages make the whole");
        // A cursor that is not of the list tells nothing of its row.
        let first = ids[0].to_string();
        let mine = Listing { order, owner: Some("nobody"), before: Some(&first), ..all };
        assert!(catalog.assets(mine).await.unwrap().is_empty());
    }
}
