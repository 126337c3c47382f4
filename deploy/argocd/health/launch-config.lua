-- Health of a LaunchConfig in Argo CD; docs/operate/gitops.md has the table. Argo CD gives scripts no string library.
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

if status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "the operator has not seen this spec yet")
end
if obj.metadata.deletionTimestamp ~= nil then
  local waits = condition("Drained").message or ("members: " .. (status.instances or 0))
  return health("Progressing", "it stays until no member needs it; " .. waits)
end

-- A paused launch config still has to terminate its machines, so what prevents that comes first.
for _, name in ipairs({ "Stalled", "SweepBlocked" }) do
  if condition(name).status == "True" then
    return health("Degraded", condition(name).message)
  end
end
local available = condition("Available")
if available.status == "False" then
  return health("Degraded", available.message)
end

if obj.spec.paused then
  return health("Suspended", condition("Paused").message)
end
if available.status ~= "True" then
  return health("Progressing", "its cloud has not answered yet")
end
-- A lack of machines is temporary, and other launch configs take over the share.
local capacity = condition("CapacityAvailable")
if capacity.status == "False" then
  return health("Healthy", available.message .. "; " .. capacity.message)
end
return health("Healthy", available.message)
