//! Users: one method an endpoint, as in `api`. Sessions are for browsers; a
//! program uses a token.

use crate::error::ClientError;
use crate::http::Client;
use fleetfoot_model::api::Page;
use fleetfoot_model::ids::UserId;
use fleetfoot_model::users::{CreateUser, SessionView, SetPassword, UpdateUser, UserView};
use reqwest::Method;

impl Client {
    /// Who the token of this client stands for.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn who_am_i(&self) -> Result<SessionView, ClientError> {
        self.get(self.api(&["session"], &[])).await
    }

    /// Creates a user.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_user(&self, request: &CreateUser) -> Result<UserView, ClientError> {
        self.call(Method::POST, self.api(&["users"], &[]), request).await
    }

    /// All users by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn users(&self) -> Result<Page<UserView>, ClientError> {
        self.get(self.api(&["users"], &[])).await
    }

    /// One user.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn user(&self, id: UserId) -> Result<UserView, ClientError> {
        self.get(self.api(&["users", &id.to_string()], &[])).await
    }

    /// Changes a user.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn update_user(&self, id: UserId, request: &UpdateUser) -> Result<UserView, ClientError> {
        self.call(Method::PATCH, self.api(&["users", &id.to_string()], &[]), request).await
    }

    /// Deletes a user.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_user(&self, id: UserId) -> Result<(), ClientError> {
        self.done(self.request(Method::DELETE, self.api(&["users", &id.to_string()], &[]))).await
    }

    /// Sets the password of a user.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_password(&self, id: UserId, request: &SetPassword) -> Result<(), ClientError> {
        let url = self.api(&["users", &id.to_string(), "password"], &[]);
        self.done(self.request(Method::POST, url).json(request)).await
    }
}
