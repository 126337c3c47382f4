-- Health of a PoolClaim in Argo CD; docs/operate/gitops.md has the table. Argo CD gives scripts no string library.
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

local phase = status.phase or "Pending"
local bound = condition("Bound")

-- The status of an ended claim never changes again, so its observedGeneration may be old.
if phase == "Failed" or phase == "Lost" or phase == "Expired" then
  return health("Degraded", phase .. ": " .. (bound.message or ""))
end
if phase == "Released" then
  return health("Healthy", "Released: " .. (bound.message or ""))
end
if status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "the operator has not seen this spec yet")
end
if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", "its machine is being released")
end
if phase == "Bound" then
  local message = bound.message
  for _, trouble in ipairs({ { "Stale", "True" }, { "Interrupted", "True" }, { "Healthy", "False" } }) do
    if condition(trouble[1]).status == trouble[2] then
      message = message .. "; " .. condition(trouble[1]).message
    end
  end
  return health("Healthy", message)
end
return health("Progressing", bound.message)
