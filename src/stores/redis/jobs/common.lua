-- What every script begins with. KEYS[1] is what all keys begin with; it has a hash tag, so that they lie together.
-- ARGV: the time (-1: the server's own), aging, finished jobs kept, dead jobs kept, time finished jobs are kept.
--
-- PREFIX:job:ID           hash with the job; times in milliseconds since the Unix epoch
-- PREFIX:ready:KIND       waiting jobs by rank, the smallest first, then by sequence number
-- PREFIX:delayed:KIND     by the time from which they may start
-- PREFIX:expiring:KIND    waiting jobs by the time they are skipped at
-- PREFIX:running:KIND     by the end of their leases
-- PREFIX:done:KIND, PREFIX:dead:KIND   finished jobs by when they finished
-- PREFIX:keys:KIND        hash from key to the unfinished job that has it
-- PREFIX:all              every job by sequence number; PREFIX:kinds, PREFIX:seq
local P = KEYS[1]
local now = tonumber(ARGV[1])
if now < 0 then
    local time = redis.call('TIME')
    now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local aging, keep_finished, keep_dead, keep_for =
    tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
-- Most jobs that one call changes by itself.
local MANY = 1000
local MAX_ERRORS = @MAX_ERRORS@
local EXPIRED, CALLED_OFF = '@EXPIRED@', '@CALLED_OFF@'

local function text(value)
    if type(value) == 'number' then return string.format('%.0f', value) end
    return value
end

local function job_key(id) return P .. ':job:' .. id end
local function index(name, kind) return P .. ':' .. name .. ':' .. kind end
-- Sorts by sequence number where scores are equal.
local function member(job) return string.format('%016.0f', tonumber(job.seq)) .. ':' .. job.id end
local function id_of(name) return string.sub(name, 18) end

local function get(id)
    local flat = redis.call('HGETALL', job_key(id))
    if #flat == 0 then return nil end
    local job = {}
    for at = 1, #flat, 2 do job[flat[at]] = flat[at + 1] end
    return job
end

-- Sets fields; false takes one away.
local function set(job, fields)
    local arguments = {}
    for name, value in pairs(fields) do
        if value == false then
            if job[name] then redis.call('HDEL', job_key(job.id), name) end
            job[name] = nil
        else
            job[name] = text(value)
            arguments[#arguments + 1] = name
            arguments[#arguments + 1] = job[name]
        end
    end
    if #arguments > 0 then redis.call('HSET', job_key(job.id), unpack(arguments)) end
end

-- Jobs that time changed, for those who are told of it.
local changed = {}
local function tell(job)
    changed[#changed + 1] = { job.id, job.kind, job.correlation_id, job.state, job.attempts, job.reason or '' }
end

local function rank(ready, priority) return text(ready - priority * aging) end

local function forget(list, members)
    for _, name in ipairs(members) do
        local id = id_of(name)
        redis.call('DEL', job_key(id))
        redis.call('ZREM', P .. ':all', id)
        redis.call('ZREM', list, name)
    end
end

local function trim(kind)
    for name, keep in pairs({ done = keep_finished, dead = keep_dead }) do
        local list = index(name, kind)
        local over = redis.call('ZCARD', list) - keep
        if over > 0 then forget(list, redis.call('ZRANGE', list, 0, math.min(over, MANY) - 1)) end
    end
    local list = index('done', kind)
    forget(list, redis.call('ZRANGEBYSCORE', list, '-inf', text(now - keep_for), 'LIMIT', 0, MANY))
end

-- It waits, for its turn or its time.
local function wait(job, reason)
    local later = tonumber(job.run_at) > now
    set(job, { state = later and 'delayed' or 'queued', worker = false, lease = false, reason = reason or false })
    redis.call('ZREM', index('running', job.kind), job.id)
    if later then
        redis.call('ZADD', index('delayed', job.kind), job.run_at, job.id)
    else
        redis.call('ZADD', index('ready', job.kind), job.rank, member(job))
    end
end

local function finish(job, state, reason)
    redis.call('ZREM', index('ready', job.kind), member(job))
    for _, name in ipairs({ 'delayed', 'expiring', 'running' }) do
        redis.call('ZREM', index(name, job.kind), job.id)
    end
    set(job, {
        state = state, reason = reason or false, finished = now, worker = false, lease = false, expires = false,
    })
    if job.key and redis.call('HGET', index('keys', job.kind), job.key) == job.id then
        redis.call('HDEL', index('keys', job.kind), job.key)
    end
    redis.call('ZADD', index(state == 'dead' and 'dead' or 'done', job.kind), text(now), member(job))
    trim(job.kind)
end

-- Keeps a failed attempt in the job's history: one object a line.
local function note(job, message)
    local entry = { attempt = tonumber(job.attempts), at = now, worker = job.worker or '', error = message }
    local lines = {}
    for line in string.gmatch(job.errors or '', '[^\n]+') do lines[#lines + 1] = line end
    lines[#lines + 1] = cjson.encode(entry)
    while #lines > MAX_ERRORS do table.remove(lines, 1) end
    set(job, { errors = table.concat(lines, '\n') })
end

-- The worker was not heard of: the job goes back to where it stood in the line, unless it has no attempt left.
local function lose(job)
    local message = 'worker ' .. (job.worker or '') .. ' was not heard of until its lease ended'
    note(job, message)
    if job.cancel then
        finish(job, 'cancelled', CALLED_OFF)
    elseif tonumber(job.attempts) >= tonumber(job.max_attempts) then
        finish(job, 'dead', message)
    else
        wait(job, message)
    end
end

-- What time does: skips what was not started in time, takes jobs from workers not heard of, lets delayed jobs in.
local function advance(kind)
    local function due(name, change)
        local list = index(name, kind)
        for _, id in ipairs(redis.call('ZRANGEBYSCORE', list, '-inf', text(now), 'LIMIT', 0, MANY)) do
            local job = get(id)
            redis.call('ZREM', list, id)
            if job then
                change(job)
                tell(job)
            end
        end
    end
    due('expiring', function(job) finish(job, 'skipped', EXPIRED) end)
    due('running', lose)
    due('delayed', function(job)
        set(job, { state = 'queued' })
        redis.call('ZADD', index('ready', kind), job.rank, member(job))
    end)
end

-- When time does the next thing; -1 if nothing waits for it.
local function next_time(kind)
    local first = -1
    for _, name in ipairs({ 'delayed', 'running', 'expiring' }) do
        local at = tonumber(redis.call('ZRANGE', index(name, kind), 0, 0, 'WITHSCORES')[2])
        if at and (first < 0 or at < first) then first = at end
    end
    return text(first)
end

local function waiting(kind)
    return redis.call('ZCARD', index('ready', kind)) + redis.call('ZCARD', index('delayed', kind))
end

local function wake(what) redis.call('PUBLISH', P .. ':wake', what) end
local function shown(job) return redis.call('HGETALL', job_key(job.id)) end

