//! What owners say of their assets: edits, searches, what is public.

use reelfleet_catalog::Catalog;
use reelfleet_catalog::assets::{Asset, Listing, Order};
use reelfleet_catalog::captions::Captions;
use reelfleet_catalog::details::{Details, Visibility};
use reelfleet_domain::AssetState;

use crate::story::{NOW, step};

/// Of the only asset that is ready.
pub async fn tell(catalog: &Catalog, film: &Asset) {
    let all = Listing {
        tenant: &film.tenant,
        owner: None,
        order: Order::Newest,
        before: None,
        state: None,
        text: None,
        limit: 10,
    };
    let found = async |listing: Listing<'_>| catalog.assets(listing).await.unwrap().len();
    let id = film.id.to_string();
    assert_eq!(found(all).await, 1);
    assert_eq!(found(Listing { before: Some(&id), ..all }).await, 0);
    assert_eq!(found(Listing { state: Some(AssetState::Failed), ..all }).await, 0);
    assert_eq!(found(Listing { tenant: "other", ..all }).await, 0);
    assert_eq!(found(Listing { owner: Some(&film.owner), ..all }).await, 1);
    assert_eq!(found(Listing { owner: Some("somebody else"), ..all }).await, 0);
    assert_eq!(found(Listing { text: Some(&film.name.to_uppercase()), ..all }).await, 1, "found by its name at once");
    assert_eq!(found(Listing { text: Some("100%"), ..all }).await, 0);

    assert_eq!((film.visibility, film.edition, film.tags.len()), (Visibility::Private, 1, 0));
    let details = Details {
        name: "Über den Wolken_".into(),
        description: "A flight; 100% real".into(),
        tags: vec!["Ferien".into(), "2026".into()],
        visibility: Visibility::Public,
    };
    catalog.edit(&step(NOW), film, &details).await.unwrap();
    assert!(catalog.edit(&step(NOW), film, &details).await.unwrap_err().is_conflict(), "that edition is gone");
    let edited = catalog.asset(&film.id).await.unwrap().unwrap();
    assert_eq!((Details::of(&edited), edited.edition, edited.version), (details, 2, film.version));
    for (text, count) in
        [("über DEN", 1), ("n_", 1), ("0% r", 1), ("ferien", 1), ("n%", 0), ("wolken und", 0), (" ", 1)]
    {
        assert_eq!(found(Listing { text: Some(text), ..all }).await, count, "{text}");
        assert_eq!(catalog.public_assets(None, Some(text), 10).await.unwrap().len(), count, "{text}");
    }
    assert!(catalog.public_assets(Some(&id), None, 10).await.unwrap().is_empty());
    let private = Details { visibility: Visibility::Private, ..Details::of(film) };
    catalog.edit(&step(NOW), &edited, &private).await.unwrap();
    assert!(catalog.public_assets(None, None, 10).await.unwrap().is_empty());
    captioned(catalog, film).await;
    let nobody = "ast_01h455vb4pex5vsknk084sn02q".parse().unwrap();
    assert_eq!(catalog.names_of(&[nobody, film.id]).await.unwrap(), [(film.id, film.name.clone())]);
    assert!(!catalog.rename_upload(NOW, "upl_nothing", "new").await.unwrap());
}

async fn captioned(catalog: &Catalog, film: &Asset) {
    let german = Captions {
        language: "de".into(),
        label: "Deutsch".into(),
        name: "captions/de-1.vtt".into(),
        cues: 2,
        bytes: 70,
    };
    assert!(catalog.caption(NOW, &film.id, &german).await.unwrap());
    let better = Captions { name: "captions/de-2.vtt".into(), cues: 3, ..german.clone() };
    let english = Captions { language: "en".into(), name: "captions/en-1.vtt".into(), ..german };
    assert!(catalog.caption(NOW, &film.id, &english).await.unwrap());
    assert!(catalog.caption(NOW, &film.id, &better).await.unwrap());
    assert_eq!(catalog.captions(&film.id).await.unwrap(), [better, english]);
    let id = film.id.to_string();
    let named = catalog.holdings(&id, &id).await.unwrap().remove(&film.id).unwrap().named;
    let names: Vec<_> = named.into_keys().filter(|key| key.starts_with("captions/")).collect();
    assert_eq!(names, ["captions/de-2.vtt", "captions/en-1.vtt"]);
    assert!(catalog.uncaption(&film.id, "de").await.unwrap());
    assert!(!catalog.uncaption(&film.id, "de").await.unwrap());
    assert!(catalog.uncaption(&film.id, "en").await.unwrap());
    let nobody = "ast_01h455vb4pex5vsknk084sn02q".parse().unwrap();
    let any = Captions { language: "x".into(), label: "x".into(), name: "x".into(), cues: 1, bytes: 1 };
    assert!(!catalog.caption(NOW, &nobody, &any).await.unwrap());
}
