"""moto's EC2 with what it does unlike EC2 mended: the file says for each point where EC2's rule is documented.

Run it as moto's own server: `python server.py -H 127.0.0.1 -p PORT`.

Times are short, so that tests are, and come from the environment:
BULLPEN_EC2_PENDING_MS, BULLPEN_EC2_STOPPING_MS, BULLPEN_EC2_SHUTTING_DOWN_MS, BULLPEN_EC2_TERMINATED_MS (for how long a
machine is shown after its end), BULLPEN_EC2_HIBERNATES_AFTER_MS (for how long after a start it cannot be hibernated).
"""
import base64
import hashlib
import os
import threading
import time

from moto.core.utils import utcnow
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import Instance, InstanceState, StateReason
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.utils import filter_dict_attribute_mapping


def seconds(name, default):
    return int(os.environ.get(name, default)) / 1000


PENDING = seconds("BULLPEN_EC2_PENDING_MS", 1000)
STOPPING = seconds("BULLPEN_EC2_STOPPING_MS", 1000)
SHUTTING_DOWN = seconds("BULLPEN_EC2_SHUTTING_DOWN_MS", 1000)
TERMINATED = seconds("BULLPEN_EC2_TERMINATED_MS", 3600 * 1000)
HIBERNATES_AFTER = seconds("BULLPEN_EC2_HIBERNATES_AFTER_MS", 8000)

LOCK = threading.RLock()
# The backends that have the machines of a test are thrown away by a reset, so what is remembered hangs on them.
TOKENS = "bullpen_tokens"


def remembered(backend, name):
    return backend.__dict__.setdefault(name, {})


# States follow the clock: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
def current_state(self):
    state, now = self.__dict__["bullpen_state"], time.time()
    if state.name == "running" and now < self.__dict__.get("bullpen_started", 0) + PENDING:
        return InstanceState("pending", 0)
    if state.name == "stopped" and now < self.__dict__.get("bullpen_stopped", 0) + STOPPING:
        return InstanceState("stopping", 64)
    if state.name == "terminated" and now < self.__dict__.get("bullpen_ended", 0) + SHUTTING_DOWN:
        return InstanceState("shutting-down", 32)
    return state


def set_state(self, state):
    self.__dict__["bullpen_state"] = state
    self.__dict__.setdefault("bullpen_started", time.time())


Instance._state = property(lambda self: self.__dict__["bullpen_state"], set_state)
Instance.instance_state = property(current_state)
Instance.state = property(lambda self: current_state(self).name)
Instance.state_code = property(lambda self: current_state(self).code)
# The answer to RunInstances shows the present state, also to a repeated token.
EC2BaseResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER.pop("RunInstances.Reservation.Instances.Instance.State", None)

own_terminate, own_start, own_stop = Instance.terminate, Instance.start, Instance.stop


def terminate(self):
    self.__dict__.setdefault("bullpen_ended", time.time())
    return own_terminate(self)


def only_from(self, allowed, action):
    state = current_state(self).name
    if state not in allowed:
        raise EC2ClientError(
            "IncorrectInstanceState",
            f"The instance '{self.id}' is not in a state from which it can be {action}.",
        )


# The launch time is that of the last start: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html
# That of the first one is when the primary network interface was attached, and moto does not change it.
def start(self):
    only_from(self, ("stopped", "running", "pending"), "started")
    if current_state(self).name == "stopped":
        self.__dict__["bullpen_started"] = time.time()
        self.launch_time = utcnow()
    return own_start(self)


# One-time Spot requests: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-instances-request.html
def stop(self):
    if getattr(self, "lifecycle", None) == "spot":
        raise EC2ClientError(
            "UnsupportedOperation",
            f"You can't stop the Spot Instance '{self.id}' because it is associated with a one-time Spot Instance request.",
        )
    only_from(self, ("running", "stopping", "stopped"), "stopped")
    if current_state(self).name == "running":
        self.__dict__["bullpen_stopped"] = time.time()
    return own_stop(self)


Instance.terminate, Instance.start, Instance.stop = terminate, start, stop

own_stop_instances = InstanceResponse.stop_instances


# Only machines that were launched for it are hibernated: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Hibernate.html
# For about two minutes after their start they are not, and the code of that refusal is not documented.
# The reason that they show: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html
def stop_instances(self):
    if self._get_param("Hibernate") not in (True, "true"):
        return own_stop_instances(self)
    instances = self.ec2_backend.get_multi_instances_by_id(self._get_param("InstanceIds", []))
    for instance in instances:
        if str((instance.hibernation_options or {}).get("Configured")).lower() != "true":
            raise EC2ClientError(
                "UnsupportedHibernationConfiguration",
                f"The instance can't be hibernated because it was not configured at launch for hibernation: {instance.id}",
            )
        if time.time() < instance.__dict__["bullpen_started"] + HIBERNATES_AFTER:
            raise EC2ClientError(
                "UnsupportedOperation",
                f"The instance '{instance.id}' is not ready to hibernate yet, retry in a few minutes",
            )
    result = own_stop_instances(self)
    for instance in instances:
        code = "Client.UserInitiatedHibernate"
        instance.state_reason = StateReason(f"{code}: User initiated hibernate", code)
    return result


InstanceResponse.stop_instances = stop_instances


# https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
# Some 16 KiB of user data: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html
own_run = InstanceResponse.run_instances
filter_dict_attribute_mapping["client-token"] = "client_token"


def run_instances(self):
    with LOCK:
        data = self.data
        user_data = data.get("UserData", [""])[0]
        if len(base64.b64decode(user_data or "")) > 16384:
            raise EC2ClientError("InvalidParameterValue", "User data is limited to 16384 bytes")
        token = data.get("ClientToken", [None])[0]
        if not token:
            return own_run(self)
        body = sorted((key, tuple(value)) for key, value in data.items())
        digest = hashlib.sha256(repr(body).encode()).hexdigest()
        tokens = remembered(self.ec2_backend, TOKENS)
        if token in tokens:
            before, result = tokens[token]
            if before != digest:
                raise EC2ClientError(
                    "IdempotentParameterMismatch",
                    "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
                )
            return result
        result = own_run(self)
        tokens[token] = (digest, result)
        return result


InstanceResponse.run_instances = run_instances


# EC2 shows ended machines for about an hour, and knows their ids no more after that.
own_describe = InstanceResponse.describe_instances


def describe_instances(self):
    with LOCK:
        now = time.time()
        for reservation in list(self.ec2_backend.reservations.values()):
            reservation.instances = [
                instance
                for instance in reservation.instances
                if now < instance.__dict__.get("bullpen_ended", now) + TERMINATED
            ]
            if not reservation.instances:
                del self.ec2_backend.reservations[reservation.id]
        pages = [reservation.id for reservation in self.ec2_backend.reservations.values()]
        token = self._get_param("NextToken")
        if token and token not in pages:
            raise EC2ClientError("InvalidNextToken", f"The token '{token}' is invalid or has expired")
        return own_describe(self)


InstanceResponse.describe_instances = describe_instances


if __name__ == "__main__":
    from moto.server import main

    main()
