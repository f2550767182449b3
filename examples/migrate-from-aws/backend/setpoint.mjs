// Sets the temperature that a thermostat is to hold, and notes who asked and when.
//
//   node setpoint.mjs THING DEGREES [WHO]
//
// Where it goes is the business of the environment: AWS_REGION and credentials as for any
// AWS SDK, and AWS_ENDPOINT_URL_IOT_DATA_PLANE for a server that is not AWS.
import { IoTDataPlaneClient, UpdateThingShadowCommand } from '@aws-sdk/client-iot-data-plane'

const [thing, degrees, who = 'backend'] = process.argv.slice(2)
const tempSetpoint = Number(degrees)
if (!thing || !degrees || !Number.isFinite(tempSetpoint)) {
  console.error('usage: node setpoint.mjs THING DEGREES [WHO]')
  process.exit(2)
}

const client = new IoTDataPlaneClient({})

async function setSetpoint(thingName, desired) {
  const payload = Buffer.from(JSON.stringify({ state: { desired } }))
  const answer = await client.send(new UpdateThingShadowCommand({ thingName, payload }))
  return JSON.parse(Buffer.from(answer.payload).toString())
}

try {
  const accepted = await setSetpoint(thing, { tempSetpoint, updatedBy: who, updatedAt: new Date().toISOString() })
  console.log(`${thing}: version ${accepted.version}, desired ${JSON.stringify(accepted.state.desired)}`)
} catch (err) {
  console.error(`${thing}: not set: ${err.name}: ${err.message}`)
  process.exitCode = 1
}
