# A real Kafka: brokers that fail, transactions, TLS, logins, ACLs.
.PHONY: test-kafka
test-kafka: ## what only Apache Kafka shows; ROWS="5 6" picks rows of the table of faults
	@bash tests/kafka/run.sh
