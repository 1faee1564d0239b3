// Asks one question by RabbitMQ and prints the answer as it comes: node amqp_client.js URL QUEUE BODY
const amqp = require("amqplib");

async function main([url, queue, body]) {
  const connection = await amqp.connect(url);
  const channel = await connection.createChannel();
  const answers = `response_${JSON.parse(body).uid}`;
  await channel.assertQueue(answers, { durable: true });
  channel.sendToQueue(queue, Buffer.from(body));
  await new Promise((resolve, reject) => {
    channel.on("error", reject);
    channel.consume(
      answers,
      (message) => {
        if (message === null) {
          return reject(new Error(`${answers} is gone`)); // says nothing once the answer is complete
        }
        process.stdout.write(message.content);
        const { done, status, error } = message.properties.headers;
        if (done) {
          status === "completed" ? resolve() : reject(new Error(`${status}: ${JSON.stringify(error)}`));
        }
      },
      { noAck: true },
    );
  });
  await channel.deleteQueue(answers);
  await connection.close();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
