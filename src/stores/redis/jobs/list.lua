-- ARGV: sequence number to stay below ('+inf': none), jobs wanted, state ('': any), kind ('': any), jobs to look at.
local before = ARGV[6] == '+inf' and '+inf' or '(' .. ARGV[6]
local wanted, state, kind, looks = tonumber(ARGV[7]), ARGV[8], ARGV[9], tonumber(ARGV[10])
local found, last = {}, ''
local ids = redis.call('ZREVRANGEBYSCORE', P .. ':all', before, '-inf', 'WITHSCORES', 'LIMIT', 0, looks)
for at = 1, #ids, 2 do
    last = ids[at + 1]
    local is = redis.call('HMGET', job_key(ids[at]), 'state', 'kind')
    if is[1] and (state == '' or is[1] == state) and (kind == '' or is[2] == kind) then
        found[#found + 1] = redis.call('HGETALL', job_key(ids[at]))
        if #found >= wanted then break end
    end
end
return { last, #ids < looks * 2 and 1 or 0, found }
