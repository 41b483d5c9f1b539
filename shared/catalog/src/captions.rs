//! Captions of an asset: one file a language.
//!
//! Guarantee: a row names an object that was stored before; captions of an asset that is being deleted can't be added, so
//! a purge that has listed the asset's objects finds none later.

use reelfleet_messages::AssetId;

use crate::error::CatalogError;
use crate::statement::{Row, Statement};
use crate::store::Catalog;

/// Captions in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captions {
    /// A language tag (BCP 47), such as `de` or `pt-BR`.
    pub language: String,
    /// For people: `Deutsch`.
    pub label: String,
    /// Key relative to `out/{asset}/`.
    pub name: String,
    /// How many.
    pub cues: i64,
    /// Bytes of the file.
    pub bytes: i64,
}

impl Catalog {
    /// Adds captions, or replaces those of the language. `false`: the asset is gone, or going.
    pub async fn caption(&self, now: i64, asset: &AssetId, captions: &Captions) -> Result<bool, CatalogError> {
        let statement = Statement::new(
            "INSERT INTO caption (asset_id, language, label, name, cues, bytes, updated_at) \
             SELECT id, :language, :label, :name, :cues, :bytes, :now FROM asset \
             WHERE id = :asset AND state NOT IN ('deleting', 'deleted') \
             ON CONFLICT (asset_id, language) DO UPDATE SET label = :label, name = :name, cues = :cues, bytes = :bytes, updated_at = :now",
        )
        .text("asset", asset.to_string())
        .text("language", &captions.language)
        .text("label", &captions.label)
        .text("name", &captions.name)
        .int("cues", captions.cues)
        .int("bytes", captions.bytes)
        .int("now", now);
        Ok(self.write(statement).await?.1 == 1)
    }

    /// Takes those of one language away; their object is nobody's then, and is swept. `false`: there are none.
    pub async fn uncaption(&self, asset: &AssetId, language: &str) -> Result<bool, CatalogError> {
        let statement = Statement::new("DELETE FROM caption WHERE asset_id = :asset AND language = :language")
            .text("asset", asset.to_string())
            .text("language", language);
        Ok(self.write(statement).await?.1 == 1)
    }

    /// All of an asset, by language.
    pub async fn captions(&self, asset: &AssetId) -> Result<Vec<Captions>, CatalogError> {
        let sql = "SELECT language, label, name, cues, bytes FROM caption WHERE asset_id = :asset ORDER BY language";
        self.read(Statement::new(sql).text("asset", asset.to_string())).await?.iter().map(captions).collect()
    }
}

fn captions(row: &Row) -> Result<Captions, CatalogError> {
    Ok(Captions {
        language: row.text(0)?,
        label: row.text(1)?,
        name: row.text(2)?,
        cues: row.int(3)?,
        bytes: row.int(4)?,
    })
}
