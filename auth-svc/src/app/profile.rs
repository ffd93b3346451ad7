//! What users change about themselves, and telling data-svc.

use std::sync::Arc;

use mesh::{Ctx, Error, Result};

use super::{App, event};
use crate::domain::{
    audit::{Action, Actor},
    input,
    user::User,
};

impl App {
    /// Changes the caller's name or picture; an empty picture removes it.
    ///
    /// # Errors
    /// VALIDATION_ERROR, also when nothing is to be changed; as [`App::acting`].
    pub(crate) async fn update_user(
        self: &Arc<Self>,
        ctx: &Ctx,
        name: Option<&str>,
        image: Option<&str>,
    ) -> Result<()> {
        let acting = self.acting(ctx).await?;
        if name.is_none() && image.is_none() {
            return Err(Error::validation("INVALID_REQUEST", "No fields to update"));
        }
        let name = name.map(input::name).transpose()?;
        let image = image.map(|image| input::image(Some(image))).transpose()?;
        let actor = Actor::User(acting.user.id.clone());
        let noted = event(ctx, Action::UserUpdated, actor, Some(&acting.user.id));
        let updated = self
            .store
            .update_user(&acting.user.id, name, image, noted)
            .await?;
        if let Some(user) = updated {
            self.tell_data(ctx, &user).await;
        }
        Ok(())
    }

    /// Tells data-svc about a user, so that lookups know them at once. What does not arrive now
    /// arrives with the user's next identity token.
    pub(super) async fn tell_data(&self, ctx: &Ctx, user: &User) {
        let told = async {
            let is_owner = self.store.is_owner(&user.id).await?;
            self.principals
                .resolve(ctx, &self.keyring, user, is_owner, None)
                .await
        };
        if let Err(error) = told.await {
            tracing::warn!(error = %error, user.id = user.id, "data-svc was not told about a user");
        }
    }
}
