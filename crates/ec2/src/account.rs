//! Whose credentials these are.

use serde::Deserialize;

use crate::client::{Client, Service};
use crate::error::CallError;
use crate::xml;

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "GetCallerIdentityResult")]
    result: Caller,
}

#[derive(Deserialize)]
struct Caller {
    #[serde(rename = "Account")]
    account: String,
}

impl Client {
    /// The account of the credentials, twelve digits, asked anew at STS. No policy can forbid this call.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn account(&self) -> Result<String, CallError> {
        let body = self.query(Service::Sts, &Self::sts("GetCallerIdentity")).await?;
        Ok(xml::read::<Answer>(&body)?.result.account)
    }
}
