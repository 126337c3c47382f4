//! Idempotent creates: one token buys one machine.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Cloud, Creation, MAX_MACHINES, Machine, Urls};
use crate::draw::Draw;
use crate::ledger::Description;
use crate::validate;
use crate::wire::{Address, AddressKind, CreateInstance, ErrorClass, Instance, Phase, Refusal};

/// What is stored about a used token.
#[derive(Debug)]
pub(super) struct Purchase {
    fingerprint: [u8; 32],
    pub(super) number: u64,
    launch_time: Timestamp,
}

impl Cloud {
    pub(super) fn purchase(&mut self, request: &CreateInstance) -> Result<(Creation, Instance), Refusal> {
        validate::create(request)?;
        let bytes = serde_json::to_vec(request).map_err(|error| Refusal::invalid(error.to_string()))?;
        let fingerprint: [u8; 32] = Sha256::digest(bytes).into();
        let key = account_token(self.acting.as_deref(), &request.token);
        if let Some(purchase) = self.purchases.get(&key) {
            if purchase.fingerprint != fingerprint {
                let message = format!("token: {:?} was used before with other parameters", request.token);
                return Err(Refusal { token_used: true, ..Refusal::invalid(message) });
            }
            let instance = self.machines.get(&purchase.number).map_or_else(
                || self.remembered(request, purchase), // The machine was forgotten, its token was not.
                |machine| machine.instance.clone(),
            );
            return Ok((Creation::Existing, instance));
        }
        self.within_limits(request)?;
        if self.machines.len() >= MAX_MACHINES {
            return Err(Refusal::new(ErrorClass::Quota, format!("at most {MAX_MACHINES} machines")));
        }
        let address =
            self.addresses.take().ok_or_else(|| Refusal::new(ErrorClass::Quota, "all private addresses are in use"))?;
        self.created += 1;
        let number = self.created;
        let draw = Draw::new(self.options.seed, number);
        let mut instance = picture(request, draw.id(), Phase::Pending, self.now);
        instance.addresses.push(Address { kind: AddressKind::InternalIp, address: address.to_string() });
        self.numbers.insert(instance.id.clone(), number);
        let purchase = Purchase { fingerprint, number, launch_time: self.now };
        self.purchases.insert(key, purchase);
        self.past.push(self.now, number, None);
        let machine = Machine {
            instance: instance.clone(),
            user_data: request.user_data.as_deref().map(Box::from),
            user_data_base64: request.user_data_base64.as_deref().map(Box::from),
            urls: request.user_data.as_deref().and_then(Urls::find).map(Box::new),
            address: Some(address),
            account: self.acting.clone(),
            next: [None; 2],
            doom: None,
            resets: Vec::new(),
            hidden: Vec::new(),
            asked_to_end: false,
            asked_to_stop: false,
            starts: 0,
        };
        if machine.urls.is_some() {
            self.silent.insert(number);
        }
        self.machines.insert(number, machine);
        Ok((Creation::Created, instance))
    }

    fn remembered(&self, request: &CreateInstance, purchase: &Purchase) -> Instance {
        let id = Draw::new(self.options.seed, purchase.number).id();
        picture(request, id, Phase::Terminated, purchase.launch_time)
    }
}

fn picture(request: &CreateInstance, id: String, phase: Phase, launch_time: Timestamp) -> Instance {
    Instance {
        id,
        token: request.token.clone(),
        region: request.region.clone(),
        zone: request.zone.clone(),
        market: request.market,
        instance_type: request.instance_type.clone(),
        image: request.image.clone(),
        phase,
        ready: false,
        impaired: false,
        interruption_time: None,
        interruption_reason: None,
        addresses: Vec::new(),
        launch_time,
        boot_time: None,
        hibernated: false,
        last_reset: None,
        tags: request.tags.clone(),
    }
}

pub(super) fn describe(instance: &Instance) -> Description {
    Description {
        region: instance.region.clone(),
        zone: instance.zone.clone(),
        market: instance.market,
        instance_type: instance.instance_type.clone(),
        image: instance.image.clone(),
        address: instance.addresses.first().map(|address| address.address.clone()).unwrap_or_default(),
        tags: instance.tags.clone(),
        account: None,
    }
}

/// The key of a token, which is unique within an account. Tokens contain no line end.
pub(super) fn account_token(account: Option<&str>, token: &str) -> String {
    account.map_or_else(|| token.to_owned(), |account| format!("{account}\n{token}"))
}
