-- The health of a FlowMachine, from its conditions. health_test.yaml has the cases.
local health = {status = "Progressing", message = "the operator has not looked at it yet"}

if obj.status == nil or obj.status.conditions == nil then
  return health
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  health.message = "the operator has not seen the last change yet"
  return health
end

local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end

local function is_true(name)
  return found[name] ~= nil and found[name].status == "True"
end

local ready = found["Ready"]
if is_true("Stalled") then
  health.status = "Degraded"
  health.message = found["Stalled"].message
elseif is_true("Ready") then
  health.status = "Healthy"
  if ready.reason == "Paused" then
    health.status = "Suspended"
  end
  health.message = ready.message
elseif ready ~= nil then
  health.message = ready.message
end
return health
