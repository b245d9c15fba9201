local found = {}
local kinds = redis.call('SMEMBERS', P .. ':kinds')
table.sort(kinds)
for _, kind in ipairs(kinds) do
    local counts = { kind }
    for _, name in ipairs({ 'ready', 'delayed', 'running', 'dead' }) do
        counts[#counts + 1] = text(redis.call('ZCARD', index(name, kind)))
    end
    found[#found + 1] = counts
end
return found
