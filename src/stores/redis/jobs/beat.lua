-- ARGV: length of the lease, then per beat: id, fence, whether there is progress, progress, message.
local lease = now + tonumber(ARGV[6])
local answers = {}
for at = 7, #ARGV, 5 do
    local job = get(ARGV[at])
    if job and job.state == 'running' and job.fence == ARGV[at + 1] then
        set(job, { lease = lease })
        if ARGV[at + 2] == '1' then set(job, { progress = ARGV[at + 3], message = ARGV[at + 4] }) end
        redis.call('ZADD', index('running', job.kind), text(lease), job.id)
        answers[#answers + 1] = job.cancel and 2 or 1
    else
        answers[#answers + 1] = 0
    end
end
return answers
