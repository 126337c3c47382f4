-- Health of a PoolMember in Argo CD; docs/operate/gitops.md has the table. Argo CD gives scripts no string library.
local status = obj.status or {}

local function condition(name)
  for _, found in ipairs(status.conditions or {}) do
    if found.type == name then
      return found
    end
  end
  return {}
end

local function health(of, message)
  return { status = of, message = message or "" }
end

-- A machine that cannot be terminated costs money, and its member is being deleted.
for _, name in ipairs({ "Stalled", "Quarantined", "ClaimVanished" }) do
  if condition(name).status == "True" then
    return health("Degraded", condition(name).message)
  end
end
-- Nothing is done with a member whose launch config leads to another cloud.
if condition("Reachable").status == "False" then
  return health("Degraded", condition("Reachable").message)
end
if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", "its machine is being terminated")
end

local state = status.state or "Pending"
local ready = condition("Ready")
if state == "Errored" then
  return health("Degraded", ready.message)
end
if state == "Pending" then
  return health("Progressing", "its machine is about to be bought")
end
if state == "Claimed" then
  return health("Healthy", ready.message)
end
if status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "the operator has not seen this spec yet")
end
if state == "Warming" then
  return health("Progressing", ready.message)
end
if obj.spec.hold or obj.spec.cordoned then
  return health("Suspended", ready.message)
end
return health("Healthy", ready.message)
