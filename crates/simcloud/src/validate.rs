//! Validates create requests. Every refusal names the field.

use std::collections::BTreeMap;

use super::wire::{CreateInstance, Refusal, ResetInstance};

/// Longest token, region, zone, instance type, image and tag key, in characters.
const MAX_NAME: usize = 128;
const MAX_TAG_VALUE: usize = 256;
const MAX_TAGS: usize = 50;
/// In bytes.
const MAX_USER_DATA: usize = 256 * 1024;
/// One day.
const MAX_BOOT_MILLISECONDS: u32 = 86_400_000;

/// # Errors
/// `Invalid`, naming the first field that is out of its bounds.
pub(super) fn create(request: &CreateInstance) -> Result<(), Refusal> {
    name("token", &request.token)?;
    name("region", &request.region)?;
    name("zone", &request.zone)?;
    name("instanceType", &request.instance_type)?;
    name("image", &request.image)?;
    user_data(request.user_data.as_deref(), request.user_data_base64.as_deref())?;
    tags("tags", &request.tags)?;
    if request.boot_milliseconds > MAX_BOOT_MILLISECONDS {
        return Err(Refusal::invalid(format!("bootMilliseconds: at most {MAX_BOOT_MILLISECONDS}")));
    }
    if request.boot_jitter_percent > 100 {
        return Err(Refusal::invalid("bootJitterPercent: at most 100"));
    }
    Ok(())
}

/// # Errors
/// `Invalid`, naming the first field that is out of its bounds.
pub(super) fn reset(request: &ResetInstance) -> Result<(), Refusal> {
    name("token", &request.token)?;
    user_data(request.user_data.as_deref(), request.user_data_base64.as_deref())
}

fn user_data(text: Option<&str>, encoded: Option<&str>) -> Result<(), Refusal> {
    if text.is_some_and(|data| data.len() > MAX_USER_DATA) {
        return Err(Refusal::invalid(format!("userData: at most {MAX_USER_DATA} bytes")));
    }
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    let fits = |encoded: &str| text.is_none() && encoded.len() <= MAX_USER_DATA && encoded.bytes().all(is_base64);
    if encoded.is_some_and(|encoded| !fits(encoded)) {
        let message = format!("userDataBase64: at most {MAX_USER_DATA} characters of base64, and no userData");
        return Err(Refusal::invalid(message));
    }
    Ok(())
}

/// # Errors
/// `Invalid`, naming `field`, if there are too many tags or one is out of its bounds.
pub(super) fn tags(field: &str, tags: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if tags.len() > MAX_TAGS {
        return Err(Refusal::invalid(format!("{field}: at most {MAX_TAGS}, got {}", tags.len())));
    }
    for (key, value) in tags {
        name(&format!("{field}: a key"), key)?;
        if key.contains('=') {
            return Err(Refusal::invalid(format!("{field}: the key {key:?} has a `=` in it")));
        }
        if value.chars().count() > MAX_TAG_VALUE {
            return Err(Refusal::invalid(format!("{field}: the value of {key:?} is over {MAX_TAG_VALUE} characters")));
        }
    }
    Ok(())
}

/// # Errors
/// `Invalid`, naming `field`, if `value` is empty, too long or has control characters.
pub(super) fn name(field: &str, value: &str) -> Result<(), Refusal> {
    let problem = if value.is_empty() {
        "must not be empty".to_owned()
    } else if value.chars().count() > MAX_NAME {
        format!("at most {MAX_NAME} characters")
    } else if value.chars().any(char::is_control) {
        "must not have control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(Refusal::invalid(format!("{field}: {problem}")))
}
