# A real Kafka: brokers that fail, transactions, TLS, logins, ACLs.
.PHONY: test-kafka
test-kafka: integration-tools $(B)/tests/run ## what only Apache Kafka shows; ROWS="5 6" picks rows of the table of faults
	@bash ops/deploy/deps.sh kafka
	@bash tests/kafka/run.sh $(B)
