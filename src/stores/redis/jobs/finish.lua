-- ARGV: id, fence, how it ended, its result or error, wait before the next attempt (-1: none).
local job = get(ARGV[6])
if not job or job.state ~= 'running' or job.fence ~= ARGV[7] then return { 'lost', {} } end
local how, said, pause = ARGV[8], ARGV[9], tonumber(ARGV[10])
if how == 'succeeded' then
    set(job, { progress = '1', result = said ~= 'null' and said or false })
    finish(job, 'succeeded')
elseif how == 'cancelled' then
    finish(job, 'cancelled', CALLED_OFF)
elseif how == 'failed' then
    note(job, said)
    if job.cancel then
        finish(job, 'cancelled', CALLED_OFF)
    elseif pause >= 0 and tonumber(job.attempts) < tonumber(job.max_attempts) then
        local run_at = now + pause
        set(job, { run_at = run_at, rank = rank(run_at, tonumber(job.priority)) })
        wait(job, said)
    else
        finish(job, 'dead', said)
    end
elseif job.cancel then
    finish(job, 'cancelled', CALLED_OFF)
else
    set(job, { attempts = math.max(tonumber(job.attempts) - 1, 0) })
    wait(job)
end
-- even a finished one may have been forgotten at once, where none are kept
if not job.finished then wake('work:' .. job.kind) end
return { 'done', shown(job) }
