-- ARGV: id.
local job = get(ARGV[6])
if not job then return { 'missing', {} } end
if job.state == 'queued' or job.state == 'delayed' then
    finish(job, 'cancelled', CALLED_OFF)
elseif job.state == 'running' then
    set(job, { cancel = '1' })
    wake('cancel:' .. job.id)
else
    return { job.state, {} }
end
return { 'done', shown(job) }
