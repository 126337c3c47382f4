-- Health of an InstancePool in Argo CD; docs/operate/gitops.md has the table. Argo CD gives scripts no string library.
local status = obj.status or {}

local function condition(name)
  for _, found in ipairs(status.conditions or {}) do
    if found.type == name then
      return found
    end
  end
  return {}
end

local function is(name, value)
  return condition(name).status == value
end

local function health(of, message)
  return { status = of, message = message or "" }
end

if status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "the operator has not seen this spec yet")
end

local drained = condition("Drained")
if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", drained.message)
end

-- Problems that only a person can solve come first, whatever the pool's state is.
if is("Stalled", "True") then
  return health("Degraded", condition("Stalled").message)
end
if is("TerminationHealthy", "False") then
  return health("Degraded", condition("TerminationHealthy").message)
end
if is("Quarantined", "True") then
  return health("Degraded", condition("Quarantined").message)
end
if is("ClaimVanished", "True") then
  return health("Degraded", condition("ClaimVanished").message)
end
-- That the operator itself stood still is over within a period.
if is("HealthSuspended", "True") and condition("HealthSuspended").reason ~= "ProbesStalled" then
  return health("Degraded", condition("HealthSuspended").message)
end

if obj.spec.state == "Paused" then
  return health("Suspended", "spec.state is Paused: no machine is bought and none is handed out")
end
if obj.spec.state == "Draining" then
  -- Claimed and held members may stay for days, so a sync must not wait for them.
  if drained.reason == "Terminating" then
    return health("Progressing", drained.message)
  end
  return health("Suspended", drained.message)
end

local provisioning = condition("ProvisioningHealthy")
if provisioning.status == "False" then
  if provisioning.reason == "LaunchConfigsPaused" or provisioning.reason == "LaunchConfigsOff" then
    return health("Suspended", provisioning.message)
  end
  return health("Degraded", provisioning.message)
end

local template = condition("TemplateCurrent")
if template.status == "False" and template.reason == "ProgressDeadlineExceeded" then
  return health("Degraded", template.message)
end

local ready = condition("Ready")
local lacking = ""
if is("CapacityAvailable", "False") then
  lacking = "; " .. condition("CapacityAvailable").message
end
if ready.status ~= "True" then
  -- These two have the reason in their own message.
  if ready.reason == "FirstMachinesAwaited" or ready.reason == "NoMachines" then
    lacking = ""
  end
  return health("Progressing", (ready.message or "") .. lacking)
end
if template.status == "False" and template.reason ~= "OnReplenish" then
  return health("Progressing", template.message)
end
if is("AtMaxSize", "True") then
  lacking = lacking .. "; " .. condition("AtMaxSize").message
end
return health("Healthy", ready.message .. lacking)
