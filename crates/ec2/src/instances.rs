//! Machines as EC2 shows them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use crate::client::{Client, Service};
use crate::error::CallError;
use crate::query::Query;
use crate::xml::{self, Items, text};

/// Machines of a page, at most 1,000. A page of EC2 is one answer in memory.
const PAGE: u32 = 500;
/// Most pages of one list; a server that returns more is broken.
const MAX_PAGES: usize = 1000;

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id, `i-…`.
    pub id: String,
    /// The token that bought it.
    pub client_token: Option<String>,
    /// Its state.
    pub state: InstanceState,
    /// Availability zone.
    pub zone: String,
    /// Its type.
    pub instance_type: String,
    /// Id of its image.
    pub image: String,
    /// When it was last started: at its create, and at each start from stopped.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html>
    pub launch_time: Timestamp,
    /// When its primary network interface was attached, which is when it was first launched. That interface stays for as long
    /// as the machine does. `None` once the machine is terminated.
    pub attach_time: Option<Timestamp>,
    /// Private IPv4 address.
    pub private_ip: Option<String>,
    /// Public IPv4 address.
    pub public_ip: Option<String>,
    /// IPv6 address.
    pub ipv6: Option<String>,
    /// Private DNS name.
    pub private_dns: Option<String>,
    /// Public DNS name.
    pub public_dns: Option<String>,
    /// Why it is in its state, such as `Server.SpotInstanceTermination`.
    pub state_reason: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// The state of a machine.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// It boots.
    Pending,
    /// It runs.
    Running,
    /// It is about to be off, and stays to be started again.
    Stopping,
    /// It is off; its volumes bill.
    Stopped,
    /// It is about to be gone.
    ShuttingDown,
    /// It is gone, and shown for about an hour.
    Terminated,
}

/// Which machines to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter<'a> {
    /// Those with this tag and value.
    Tag(&'a str, &'a str),
    /// The one with this id. An id that EC2 does not know is an error.
    Id(&'a str),
}

/// A machine in an answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    instance_id: String,
    client_token: Option<String>,
    instance_state: State,
    placement: Option<Zone>,
    #[serde(default)]
    instance_type: String,
    #[serde(default)]
    image_id: String,
    launch_time: String,
    private_ip_address: Option<String>,
    ip_address: Option<String>,
    ipv6_address: Option<String>,
    private_dns_name: Option<String>,
    dns_name: Option<String>,
    state_reason: Option<Reason>,
    #[serde(default)]
    network_interface_set: Items<Interface>,
    #[serde(default)]
    tag_set: Items<Tag>,
}

#[derive(Deserialize)]
struct State {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Zone {
    #[serde(default)]
    availability_zone: String,
}

#[derive(Deserialize)]
struct Reason {
    code: Option<String>,
}

#[derive(Deserialize)]
struct Interface {
    attachment: Option<Attachment>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attachment {
    device_index: u32,
    attach_time: Option<String>,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    reservation_set: Items<Reserved>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct Reserved {
    #[serde(rename = "instancesSet", default)]
    instances: Items<Shown>,
}

impl Shown {
    /// # Errors
    /// `Unknown` if the state or a time is none that EC2 documents.
    pub(crate) fn read(self) -> Result<Instance, CallError> {
        let wrong = |what: &str| CallError::unknown(format!("instance {}: {what}", self.instance_id));
        let state = match self.instance_state.name.as_str() {
            "pending" => InstanceState::Pending,
            "running" => InstanceState::Running,
            "stopping" => InstanceState::Stopping,
            "stopped" => InstanceState::Stopped,
            "shutting-down" => InstanceState::ShuttingDown,
            "terminated" => InstanceState::Terminated,
            other => return Err(wrong(&format!("state {other:?}"))),
        };
        let moment = |what: &str, text: &str| text.parse().map_err(|_| wrong(&format!("{what} {text:?}")));
        let launch_time = moment("launch time", &self.launch_time)?;
        let attachments = self.network_interface_set.items.into_iter().filter_map(|interface| interface.attachment);
        let primary =
            attachments.filter(|attachment| attachment.device_index == 0).find_map(|primary| primary.attach_time);
        let attach_time = text(primary).map(|time| moment("attach time", &time)).transpose()?;
        Ok(Instance {
            client_token: text(self.client_token),
            state,
            zone: self.placement.map(|placement| placement.availability_zone).unwrap_or_default(),
            instance_type: self.instance_type,
            image: self.image_id,
            launch_time,
            attach_time,
            private_ip: text(self.private_ip_address),
            public_ip: text(self.ip_address),
            ipv6: text(self.ipv6_address),
            private_dns: text(self.private_dns_name),
            public_dns: text(self.dns_name),
            state_reason: self.state_reason.and_then(|reason| text(reason.code)),
            tags: self.tag_set.items.into_iter().map(|tag| (tag.key, tag.value)).collect(),
            id: self.instance_id,
        })
    }
}

impl Client {
    fn page(&self) -> u32 {
        self.settings().page.unwrap_or(PAGE)
    }

    /// All machines of a filter, whatever their state, page by page.
    ///
    /// # Errors
    /// Any [`CallError`] of any page: a part of the list is never returned.
    pub async fn describe_instances(&self, filter: Filter<'_>) -> Result<Vec<Instance>, CallError> {
        let (mut instances, mut next) = (Vec::new(), None::<String>);
        for _ in 0..MAX_PAGES {
            let body = self.query(Service::Ec2, &describe(filter, self.page(), next.as_deref())).await?;
            let page: Page = xml::read(&body)?;
            for shown in page.reservation_set.items.into_iter().flat_map(|reserved| reserved.instances.items) {
                instances.push(shown.read()?);
            }
            next = text(page.next_token);
            if next.is_none() {
                return Ok(instances);
            }
        }
        Err(CallError::unknown(format!("a list did not end after {MAX_PAGES} pages")))
    }

    /// Terminates a machine.
    ///
    /// # Errors
    /// Any [`CallError`]; `Refused` with `InvalidInstanceID.NotFound` if there is none.
    pub async fn terminate_instances(&self, id: &str) -> Result<(), CallError> {
        self.of_one("TerminateInstances", id).await
    }

    /// Adds tags to a machine or changes their values.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn create_tags(&self, id: &str, tags: &BTreeMap<String, String>) -> Result<(), CallError> {
        let mut query = Self::ec2("CreateTags");
        query.put("ResourceId.1", id);
        query.put_tags("Tag", tags);
        self.query(Service::Ec2, &query).await.map(drop)
    }

    /// Begins to switch a machine off; its volumes stay. `hibernate`: its memory is written to its root volume first; if that
    /// fails, EC2 stops it without.
    ///
    /// # Errors
    /// Any [`CallError`]; `Refused` with `UnsupportedOperation` if it cannot be stopped, as one whose root volume is an
    /// instance store, and with `UnsupportedHibernationConfiguration` if it was not launched to be hibernated.
    pub async fn stop_instances(&self, id: &str, hibernate: bool) -> Result<(), CallError> {
        let mut query = one("StopInstances", id);
        if hibernate {
            query.put("Hibernate", "true");
        }
        self.query(Service::Ec2, &query).await.map(drop)
    }

    /// Begins to switch a stopped machine on.
    ///
    /// # Errors
    /// Any [`CallError`]; `Refused` with `IncorrectInstanceState` if it is still about to be off.
    pub async fn start_instances(&self, id: &str) -> Result<(), CallError> {
        self.of_one("StartInstances", id).await
    }

    async fn of_one(&self, action: &str, id: &str) -> Result<(), CallError> {
        self.query(Service::Ec2, &one(action, id)).await.map(drop)
    }
}

/// A call about one machine.
fn one(action: &str, id: &str) -> Query {
    let mut query = Client::ec2(action);
    query.put("InstanceId.1", id);
    query
}

fn describe(filter: Filter<'_>, page: u32, next: Option<&str>) -> Query {
    let mut query = Client::ec2("DescribeInstances");
    match filter {
        // EC2 refuses a page size together with ids.
        Filter::Id(id) => query.put("InstanceId.1", id),
        Filter::Tag(key, value) => {
            query.put("Filter.1.Name", format!("tag:{key}"));
            query.put("Filter.1.Value.1", value);
            query.put("MaxResults", page.to_string());
        }
    }
    query.put_some("NextToken", next);
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE_OF_ONE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>r</requestId>
  <reservationSet><item><reservationId>r-1</reservationId><groupSet/>
    <instancesSet><item>
      <instanceId>i-1</instanceId><imageId>ami-1</imageId>
      <instanceState><code>16</code><name>running</name></instanceState>
      <privateDnsName/><dnsName></dnsName><reason/>
      <instanceType>m5.large</instanceType><launchTime>2026-01-02T03:04:05.000Z</launchTime>
      <placement><availabilityZone>eu-central-1a</availabilityZone><groupName/><tenancy>default</tenancy></placement>
      <privateIpAddress>10.0.0.7</privateIpAddress>
      <networkInterfaceSet><item><networkInterfaceId>eni-2</networkInterfaceId>
        <attachment><deviceIndex>1</deviceIndex><attachTime>2026-01-01T09:00:00.000Z</attachTime></attachment></item>
        <item><networkInterfaceId>eni-1</networkInterfaceId>
        <attachment><deviceIndex>0</deviceIndex><attachTime>2026-01-01T02:03:04.000Z</attachTime></attachment></item>
      </networkInterfaceSet>
      <tagSet><item><key>team</key><value>ci &amp; more</value></item><item><key>empty</key><value/></item></tagSet>
      <clientToken>u-1</clientToken>
    </item></instancesSet></item></reservationSet>
  <nextToken>more</nextToken>
</DescribeInstancesResponse>"#;

    #[test]
    fn a_page_of_machines_is_read() {
        let page: Page = xml::read(PAGE_OF_ONE.as_bytes()).unwrap();
        assert_eq!(page.next_token.as_deref(), Some("more"));
        let shown = page.reservation_set.items.into_iter().flat_map(|reserved| reserved.instances.items);
        let instances: Vec<_> = shown.map(|shown| shown.read().unwrap()).collect();
        let [instance] = instances.as_slice() else { panic!("{instances:?}") };
        assert_eq!((instance.id.as_str(), instance.state), ("i-1", InstanceState::Running));
        assert_eq!(instance.zone, "eu-central-1a");
        assert_eq!((instance.private_ip.as_deref(), instance.public_ip.as_deref()), (Some("10.0.0.7"), None));
        assert_eq!(instance.private_dns, None, "an empty element is no name");
        assert_eq!(instance.launch_time.to_string(), "2026-01-02T03:04:05Z");
        let first = instance.attach_time.map(|time| time.to_string());
        assert_eq!(first.as_deref(), Some("2026-01-01T02:03:04Z"), "of the primary interface, wherever it stands");
        assert_eq!(instance.tags.get("team").map(String::as_str), Some("ci & more"));
        assert_eq!(instance.tags.get("empty").map(String::as_str), Some(""));
    }

    #[test]
    fn a_state_that_is_not_documented_makes_the_list_unknown_and_not_shorter() {
        let odd = PAGE_OF_ONE.replace("running", "molten");
        let page: Page = xml::read(odd.as_bytes()).unwrap();
        let mut shown = page.reservation_set.items.into_iter().flat_map(|reserved| reserved.instances.items);
        let error = shown.next().unwrap().read().unwrap_err();
        assert!(matches!(&error, CallError::Unknown(message) if message.contains("molten")), "{error}");
    }

    #[test]
    fn a_list_by_id_has_no_page_size() {
        assert_eq!(describe(Filter::Id("i-1"), PAGE, None).get("MaxResults"), None);
        let by_tag = describe(Filter::Tag("bullpen.dev/installation", "here"), 50, Some("n"));
        assert_eq!(by_tag.get("Filter.1.Name"), Some("tag:bullpen.dev/installation"));
        assert_eq!((by_tag.get("MaxResults"), by_tag.get("NextToken")), (Some("50"), Some("n")));
    }
}
