//! Endpoints of repositories that start runs. One method each, as in `api`.

use crate::error::ClientError;
use crate::http::Client;
use fleetfoot_model::api::{Created, Page};
use fleetfoot_model::repos::{
    AcceptedDelivery, AddRepository, AddedRepository, DeliveryView, DispatchRepository, DispatchWorkflow,
    RepositoryView, UpdateRepository,
};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

/// The server may have to wait for a forge.
const FORGE: Duration = Duration::from_secs(300);

impl Client {
    /// Adds a repository.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn add_repository(&self, add: &AddRepository) -> Result<AddedRepository, ClientError> {
        let request = self.request(Method::POST, self.api(&["repos"], &[])).json(add);
        self.json(self.send(request.timeout(self.timeout.max(FORGE))).await?).await
    }

    /// All repositories.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn repositories(&self) -> Result<Page<RepositoryView>, ClientError> {
        self.get(self.api(&["repos"], &[])).await
    }

    /// One repository with its schedules and reports.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn repository(&self, id: u64) -> Result<RepositoryView, ClientError> {
        self.get(self.api(&["repos", &id.to_string()], &[])).await
    }

    /// Changes a repository.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn update_repository(
        &self,
        id: u64,
        update: &UpdateRepository,
    ) -> Result<RepositoryView, ClientError> {
        self.call(Method::PATCH, self.api(&["repos", &id.to_string()], &[]), update).await
    }

    /// Removes a repository.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn remove_repository(&self, id: u64) -> Result<(), ClientError> {
        self.done(
            self.request(Method::DELETE, self.api(&["repos", &id.to_string()], &[])).timeout(self.timeout),
        )
        .await
    }

    /// Deliveries of a repository, newest first, one page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn deliveries(
        &self,
        repository: u64,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Page<DeliveryView>, ClientError> {
        let mut query = Vec::new();
        query.extend(cursor.map(|c| ("cursor", c.to_owned())));
        query.extend(limit.map(|l| ("limit", l.to_string())));
        self.get(self.api(&["repos", &repository.to_string(), "deliveries"], &query)).await
    }

    /// Carries a delivery out again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn redeliver(&self, repository: u64, delivery: u64) -> Result<DeliveryView, ClientError> {
        let path = ["repos", &repository.to_string(), "deliveries", &delivery.to_string(), "redeliver"];
        self.call(Method::POST, self.api(&path, &[]), &json!({})).await
    }

    /// Starts one workflow by hand.
    ///
    /// # Errors
    /// [`ClientError`]; code `bad_document` lists findings, those about inputs too.
    pub async fn dispatch_workflow(
        &self,
        repository: u64,
        dispatch: &DispatchWorkflow,
    ) -> Result<Created, ClientError> {
        let url = self.api(&["repos", &repository.to_string(), "dispatch"], &[]);
        let request = self.request(Method::POST, url).json(dispatch).timeout(self.timeout.max(FORGE));
        self.json(self.send(request).await?).await
    }

    /// Tells every workflow that waits for a `repository_dispatch` of this type.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn dispatch_repository(
        &self,
        repository: u64,
        dispatch: &DispatchRepository,
    ) -> Result<AcceptedDelivery, ClientError> {
        let url = self.api(&["repos", &repository.to_string(), "repository-dispatch"], &[]);
        self.call(Method::POST, url, dispatch).await
    }
}
