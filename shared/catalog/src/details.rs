//! What the owner of an asset says of it, and who may see it.
//!
//! Guarantee: an edit replaces exactly the edition that its author has seen; it never meets the commits of workers, which
//! compare the version of the asset's state.

use reelfleet_messages::AssetId;

use crate::Step;
use crate::assets::{Asset, asset_from, columns};
use crate::error::CatalogError;
use crate::statement::{Statement, one_of};
use crate::store::{Atomic, Catalog};

/// Who may see an asset besides its owner and the admins of its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Visibility {
    /// Nobody.
    #[default]
    Private,
    /// Whoever knows its id.
    Unlisted,
    /// Everybody; it is listed.
    Public,
}

impl Visibility {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Private, Self::Unlisted, Self::Public];

    /// As it stands in rows and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Unlisted => "unlisted",
            Self::Public => "public",
        }
    }

    /// The reverse.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

/// All that an edit leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// Its name for people.
    pub name: String,
    /// More about it.
    pub description: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Who may see it.
    pub visibility: Visibility,
}

impl Details {
    /// What an asset has.
    pub fn of(asset: &Asset) -> Self {
        Self {
            name: asset.name.clone(),
            description: asset.description.clone(),
            tags: asset.tags.clone(),
            visibility: asset.visibility,
        }
    }

    fn search(&self) -> String {
        let mut all = vec![self.name.as_str(), self.description.as_str()];
        all.extend(self.tags.iter().map(String::as_str));
        all.join("\n").to_lowercase()
    }
}

impl Catalog {
    /// Replaces what is said of an asset as it was read.
    ///
    /// # Errors
    /// Conflict: somebody else has edited it since, or it was deleted.
    pub async fn edit(&self, step: &Step, asset: &Asset, details: &Details) -> Result<(), CatalogError> {
        let id = asset.id.to_string();
        let tags = serde_json::Value::from(details.tags.clone()).to_string();
        let edition = asset.edition.saturating_add(1);
        let statements = vec![
            Statement::new(
                "UPDATE asset SET name = :name, description = :description, tags = :tags, visibility = :visibility, \
                 search = :search, edition = :next, edited_by = :op, updated_at = :now \
                 WHERE id = :id AND edition = :edition AND state NOT IN ('deleting', 'deleted')",
            )
            .text("name", &details.name)
            .text("description", &details.description)
            .text("tags", tags)
            .text("visibility", details.visibility.as_str())
            .text("search", details.search())
            .int("next", edition)
            .text("op", &step.op)
            .int("now", step.now)
            .text("id", &id)
            .int("edition", asset.edition)
            .expect(1),
        ];
        let settled = Statement::new("SELECT id FROM asset WHERE id = :id AND edited_by = :op")
            .text("id", &id)
            .text("op", &step.op);
        self.commit(Atomic { what: "editing an asset", statements, settled }).await
    }

    /// Renames an upload that has not landed. `false`: there is none, or it has.
    pub async fn rename_upload(&self, now: i64, upload: &str, name: &str) -> Result<bool, CatalogError> {
        let statement = Statement::new(
            "UPDATE upload SET name = :name, updated_at = :now WHERE id = :id AND state IN ('open', 'completed')",
        )
        .text("name", name)
        .int("now", now)
        .text("id", upload);
        Ok(self.write(statement).await?.1 == 1)
    }

    /// Public assets that play, of all tenants, newest first, before the given id.
    pub async fn public_assets(
        &self,
        before: Option<&str>,
        text: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Asset>, CatalogError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM asset WHERE visibility = 'public' AND state IN ('playable', 'ready') AND (:before = '' OR id < :before) \
             AND (:text = '' OR search LIKE :text ESCAPE '!') ORDER BY id DESC LIMIT :limit"
        );
        let statement = Statement::new(sql)
            .text("before", before.unwrap_or_default())
            .text("text", pattern(text))
            .int("limit", limit);
        self.read(statement).await?.iter().map(asset_from).collect()
    }
}

impl Catalog {
    /// The present names of assets.
    pub async fn names_of(&self, assets: &[AssetId]) -> Result<Vec<(AssetId, String)>, CatalogError> {
        let sql = concat!("SELECT id, name FROM asset WHERE id IN ", one_of!());
        let rows = self.read_each(sql, assets).await?;
        rows.iter().map(|row| Ok((row.parsed(0, "an asset's id")?, row.text(1)?))).collect()
    }
}

/// A LIKE pattern for a text in any case; of none, an empty one.
pub(crate) fn pattern(text: Option<&str>) -> String {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return String::new() };
    let mut pattern = String::from("%");
    for letter in text.to_lowercase().chars() {
        if matches!(letter, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

pub(crate) fn visibility(text: &str) -> Result<Visibility, CatalogError> {
    Visibility::parse(text).ok_or_else(|| CatalogError::Column {
        column: 27,
        wanted: "a visibility",
        found: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_is_a_text_and_no_pattern() {
        assert_eq!(pattern(None), "");
        assert_eq!(pattern(Some("  ")), "");
        assert_eq!(pattern(Some(" 100%_Ä! ")), "%100!%!_ä!!%");
    }
}
